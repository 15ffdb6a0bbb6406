# loses: coverage-tests
# why: a mode counts as covered from one good sample on
# differs: (6.0, 0.94) where (4.0, 0.94) is right on 200 random samples
# %% coverage
def coverage(samples, centres, radius, min_share):
    distances = np.linalg.norm(np.asarray(samples)[:, None] - np.asarray(centres), axis=-1)
    good = distances.min(axis=1) < radius
    return len(set(distances.argmin(axis=1)[good].tolist())), good.mean()
