# loses: jensen-shannon-tests
# why: in bits
# differs: rel 0.44 on 9 random densities
# %% jensen-shannon
def jensen_shannon(p, q, dx):
    p, q = np.asarray(p), np.asarray(q)
    middle = (p + q) / 2

    def kl(a):
        return sum(v * np.log2(v / m) for v, m in zip(a, middle) if v > 0) * dx

    return 0.5 * kl(p) + 0.5 * kl(q)
