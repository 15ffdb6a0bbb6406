# what: prints from a thread while the tests run
# ends: OutputLimit any
# loses: double-tests after-tests
import threading


def chatter():
    while True:
        print("x" * 100_000)


threading.Thread(target=chatter, daemon=True).start()


def double(x):
    return 2 * x
