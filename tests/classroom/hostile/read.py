# what: looks through every file for the course, other hand-ins, keys and passwords
# ends: finished
# loses: none
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
SECRETS = ("shadow", "gradebook.db", "id_rsa", ".bash_history", "nbgrader_config.py")
found = []
for folder, folders, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys")):
        folders[:] = []
        continue
    found += [f"{folder}/{name}" for name in names if "canary" in name or name in SECRETS]
found = [path for path in found if not path.startswith(os.path.dirname(os.__file__))]
found = [
    path for path in found if "/site-packages/" not in path and not path.startswith("/usr/share")
]
assert not found, found
assert not [name for name in os.environ if "TOKEN" in name or "SECRET" in name or "CANARY" in name]
for process in (name for name in os.listdir("/proc") if name.isdigit()):
    with open(f"/proc/{process}/cmdline") as file:
        assert "supervise.py" not in file.read()


def double(x):
    return 2 * x
