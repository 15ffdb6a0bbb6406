# what: prints 200 MB in one go
# ends: OutputLimit MemoryLimit
# loses: double-tests after-tests
print("x" * 200_000_000)
