"""nbgrader's settings of this course: for `nbgrader` and `jupyter lab` in this folder, and for `classroom.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # nbgrader finds tools.contain

c = get_config()  # noqa: F821 - defined by whoever loads this file
c.CourseDirectory.course_id = "image-generation"
c.CourseDirectory.root = str(ROOT)
# Hand-ins run in a sandbox by `nbgrader autograde` too.
c.Autograde.autograde_preprocessors = [
    "tools.contain.ContainedExecute",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.ContainedExecute.cell_seconds = 60
c.ContainedExecute.notebook_seconds = 300
c.ClearMetadataPreprocessor.enabled = False  # the gradebook needs the cells' metadata
