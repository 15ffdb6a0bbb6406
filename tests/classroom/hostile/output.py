# what: prints 200 MB, line by line
# ends: OutputLimit MemoryLimit
# loses: double-tests after-tests
for _ in range(2_000_000):
    print("x" * 99)
