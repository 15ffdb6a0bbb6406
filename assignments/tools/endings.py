"""Why a graded cell may have no points although it raised no error of its own: names and sentences."""

ENAMES = {
    "CellTimeLimit": "the cell ran longer than a cell may",
    "NotebookTimeLimit": "the notebook as a whole ran longer than it may",
    "MemoryLimit": "the notebook used more memory than it may",
    "OutputLimit": "the cell, or the notebook as a whole, printed more than it may",
    "DiskLimit": "the notebook made more files than it may",
    "TaskLimit": "the notebook started more processes and threads than it may",
    "KernelDied": "the notebook's kernel ended while this cell ran",
    "NotRun": "not run, because the notebook's kernel had ended before",
    "Tampered": "the notebook changes what the checks rely on",
    "NotReached": "the cell ended before its last line, without an error",
    "BadPartialGrade": "the cell's result is no number between 0 and its points",
}
