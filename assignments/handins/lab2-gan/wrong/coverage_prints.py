# loses: coverage-tests
# why: printed instead of returned
# differs: None where (4.0, 0.955) is right on 200 random samples
# %% coverage
def coverage(samples, centres, radius, min_share):
    distances = np.linalg.norm(np.asarray(samples)[:, None] - np.asarray(centres), axis=-1)
    good = distances.min(axis=1) < radius
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    print((counts >= min_share * len(samples)).sum(), good.mean())
