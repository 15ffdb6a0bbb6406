# what: a trace function runs beside the checks
# ends: finished
# loses: double-tests after-tests
# names: sys.settrace changed
import sys


def double(x):
    sys.settrace(watch)
    return x + x


def watch(frame, event, argument):
    return None
