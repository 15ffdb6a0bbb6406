# what: a thread is at work while the checks run
# ends: finished
# loses: double-tests after-tests
# names: threads changed
import threading
import time


def work():
    while True:
        time.sleep(0.01)


threading.Thread(target=work, daemon=True).start()


def double(x):
    return x + x
