"""Each correction has a proof that holds; the facts behind them, computed another way."""

import inspect
import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, entropy

from imgbook import corrections, corrections_code

ROOT = Path(__file__).parents[1]
MODULES = (corrections, corrections_code)
OTHERS = ("prove", "tiny_vae", "message")
PROOFS = [
    f
    for module in MODULES
    for name, f in inspect.getmembers(module, inspect.isfunction)
    if f.__module__ == module.__name__ and name not in OTHERS
]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda f: f.__name__)
def test_proof_holds(proof):
    facts, holds = proof()
    assert holds is True, facts
    assert facts


def page() -> str:
    cells = json.loads((ROOT / "book" / "corrections.ipynb").read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells)


def test_every_proof_is_on_the_page_once():
    shown = re.findall(r"corrections\.prove\(\w+\.(\w+)\)", page())
    assert sorted(shown) == sorted(f.__name__ for f in PROOFS)


def test_table_and_sections_hold_the_same_corrections_in_the_same_order():
    listed = re.findall(r"^\| \{ref\}`(\d+) <correction-([a-z-]+)>`", page(), re.M)
    sections = re.findall(r"^\(correction-([a-z-]+)\)=\n### (\d+) ", page(), re.M)
    assert listed == [(number, label) for label, number in sections]
    assert [int(number) for number, _ in listed] == list(range(1, len(listed) + 1))
    assert len(listed) >= 20


def test_a_proof_that_fails_ends_the_page(capsys):
    def wrong():
        return corrections.Proof({"one": 1.0}, holds=False)

    with pytest.raises(
        AssertionError, match="wrong: the facts above are not as the correction says"
    ):
        corrections.prove(wrong)
    assert "one: 1" in capsys.readouterr().out


# --- the facts another way --------------------------------------------------------------------------------------


def test_value_of_the_game_with_scipys_divergences():
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    jsd = (entropy(p, (p + q) / 2) + entropy(q, (p + q) / 2)) / 2
    facts = corrections.value_of_the_game().facts
    assert facts["V(D*, G)"] == pytest.approx(2 * jsd - np.log(4), abs=1e-12)


def test_what_a_linear_code_says_by_the_eigenvalues():
    """Each latent of the optimum says log(eigenvalue / sigma2) / 2 nats; sigma2 is the mean of those left out."""
    sigma2 = (1.0 + 0.5) / 2
    expected = 0.5 * (np.log(9 / sigma2) + np.log(4 / sigma2))
    facts = corrections.prior_is_no_likelihood().facts
    assert facts["p(x | z) = N(W z, s I): nats that a code says"] == pytest.approx(
        expected, rel=1e-5
    )


def test_divergence_of_a_point_code_in_closed_form():
    facts = corrections_code.point_codes().facts
    for logvar in (-10, -40, -80):
        expected = 0.5 * (np.exp(logvar) - 1 - logvar)
        assert facts[f"log variance {logvar}: nats"] == pytest.approx(expected, rel=1e-5)


def test_best_of_many_by_the_law_of_the_largest():
    """P(largest of 50 <= k) is the binomial's distribution function to the power of 50."""
    k = np.arange(1001)
    largest = binom.cdf(k, 1000, 0.1) ** 50
    expected = (1 - largest).sum() / 10  # E = sum of P(largest > k), in percent of 1,000
    assert corrections_code.best_of_epochs().facts["best of 50 (%)"] == pytest.approx(
        expected, abs=0.05
    )


def test_sum_of_both_losses_pulls_by_its_closed_form():
    facts = corrections_code.one_backward_pass().facts
    sigmoid = 1 / (1 + np.exp(-np.array(facts["logits"])))
    np.testing.assert_allclose(facts["its own loss"], sigmoid - 1, atol=6e-4)
    np.testing.assert_allclose(facts["both"], 2 * sigmoid - 1, atol=6e-4)


def test_dense_layer_by_its_formula():
    facts = corrections.dense_and_convolution().facts
    assert facts["numbers to learn, dense"] == 784 * 5408 + 5408
    assert facts["numbers to learn, convolution"] == 9 * 8 + 8


def test_reshape_message_names_both_sizes():
    message = corrections_code.reshape_fails().facts["raised"]
    assert str(64 * 2048) in message
    assert jnp.zeros((64, 1024)).reshape(64, 2, 2, 256).shape == (64, 2, 2, 256)
