"""Execute a hand-in's notebook in a sandbox: no network, no course folder, limits on everything, hard kill.

    from tools.contain import (
        ContainedExecute,       # nbgrader's Execute, contained: a drop-in for Autograde.autograde_preprocessors
        ExecutionReport,        # what happened to one notebook
        Limits,                 # frozen dataclass: cell_seconds, notebook_seconds, memory, tasks, disk, ...
        contained_execute,      # (nb, limits=Limits(), *, hide=(), readable=()) -> ExecutionReport; nb in place
        containment_available,  # () -> list[str]: what is missing and what to do; [] if hand-ins can be contained
    )
    from tools.hidden import feedback_copy  # (autograded, submitted=None) -> nb without anything hidden in it
    from tools.integrity import suspicious  # (nb) -> [(cell index, name, why)]: for the teacher's eyes, costs nothing

(The folder `assignments` is on `sys.path`.) With nbgrader:

    c.Autograde.autograde_preprocessors = [
        ContainedExecute, "nbgrader.preprocessors.IgnorePattern", "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput", "nbgrader.preprocessors.SaveAutoGrades", ...]
    c.ContainedExecute.cell_seconds = 60      # each field of Limits is a trait
    c.ContainedExecute.hide = ["/path/of/course"]   # never bound, even where the Python environment lies inside it

Before the run the locked test cells must have been restored (nbgrader's OverwriteCells does). The kernelspec that the
notebook names is ignored. After the run

- `nb.metadata["containment"]` is `ExecutionReport.as_dict()` (JSON), and `resources["containment"]` the object;
- a graded code cell has an output of type `error` whenever its checks did not run to their end, so that nbgrader's
  `determine_grade` gives 0. `ename` says which: the exception's own name, or one of `ENAMES`: CellTimeLimit,
  NotebookTimeLimit, MemoryLimit, OutputLimit, DiskLimit, TaskLimit, KernelDied, NotRun (a cell after the kernel's end),
  Tampered (the code under test changed NumPy, JAX, builtins, IPython ...: the report says what), NotReached (the cell
  ended without an error, but not at its last line), BadPartialGrade. `evalue` is one sentence for the student. What
  ran before keeps its points;
- output to stderr in a graded cell is moved to stdout: a warning is no error (nbgrader would give 0 for it);
- outputs are cut at the limits.

`ExecutionReport`: `status` ("finished", or the ENAME that ended the kernel), `stopped_at` (grade_id or index of that
cell, or None), `seconds`, `start_seconds`, `peak_memory` (bytes), `memory_by` ("cgroup" | "watcher"), `user`
("own uid" | "user namespace"), `network` (addresses that Python code tried to reach; nothing got out), `tampered`
(grade_id -> list of what was changed), `not_run` (grade_ids), `cells` (list of {grade_id, index, seconds, ended}).
"""
