"""The final numbers: log Z with its bounds, and the likelihood's errors apart and together."""

import math

import numpy as np
import pytest

from dvae.evaluation import LikelihoodEstimate
from dvae.runs import result
from samplers import counter_random, log_partition
from samplers.log_partition import LogPartition, Settings
from samplers.rbm import Halves
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of, exact_chains
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
AIS = LogPartition(7.0, 0.1, 50.0, 6.5, 7.05, 0.1, "checked", None)


class TestMeasured:
    @pytest.fixture(scope="class", params=["exact", "stuck"])
    def measured(self, request):
        return self.measure(request.param)

    @staticmethod
    def measure(kind):
        """Stuck chains have never left zero: reverse AIS from them would be 2 nats too low."""
        chains = exact_chains(REFERENCE, statistical.seed(3), 997)
        if kind == "stuck":
            chains = Halves(*(0.0 * half for half in chains))
        settings = Settings(997, 16, "uniform")
        return log_partition.measure(*both_of(REFERENCE), chains, statistical.key(5), settings)

    def test_small_rbms_are_certified(self, measured):
        """Forward and reverse AIS within 5 of their errors of 0.03, Markov's bound below."""
        exact = REFERENCE.log_partition()
        assert measured.exact == pytest.approx(exact, abs=1e-9)
        assert measured.upper_status == "certified"
        assert measured.stderr < 0.03 and measured.reverse_stderr < 0.03
        assert abs(measured.value - exact) < 5 * measured.stderr
        assert abs(measured.reverse - exact) < 5 * measured.reverse_stderr
        assert exact - 1.0 < measured.markov_lower < exact

    def test_exact_values_have_no_error(self, measured):
        assert measured.best() == measured.exact
        assert measured.best_stderr() == 0.0
        assert measured.interval() == (measured.exact, measured.exact)


def test_large_rbms_are_checked():
    """Beyond enumeration the reverse start is what the chains are, and is called so."""
    big = random_rbm(30, 31, seed=1, bias_scale=0.1, coupling_scale=0.01)
    rng = np.random.default_rng(1)
    chains = Halves(*(np.float32(rng.integers(0, 2, (64, n))) for n in (30, 31)))
    settings = Settings(64, 16)
    found = log_partition.measure(*both_of(big), chains, counter_random.key(1), settings)
    assert found.upper_status == "checked"
    assert found.exact is None
    # Nearly independent units: log Z is that of the biases within a hundredth of a nat.
    independent = sum(np.logaddexp(0.0, bias).sum() for bias in big.parameters[:2])
    assert found.best() == pytest.approx(independent, abs=0.5)


class TestInterval:
    def test_agreement(self):
        """1.96 standard errors to both sides."""
        low, high = AIS.interval()
        assert (low, high) == pytest.approx((7.0 - 0.196, 7.0 + 0.196), abs=1e-4)

    @pytest.mark.parametrize("reverse", [7.5, 6.5])
    def test_disagreement_widens_it(self, reverse):
        """Estimators 3.5 joint errors apart: the interval reaches both, and beyond."""
        low, high = AIS._replace(reverse=reverse).interval()
        assert low == pytest.approx(min(7.0, reverse) - 0.196, abs=1e-4)
        assert high == pytest.approx(max(7.0, reverse) + 0.196, abs=1e-4)


class TestRecord:
    LIKELIHOOD = LikelihoodEstimate(
        80.0, 85.0, sampling_stderr=0.3, test_set_stderr=0.4, num_images=11
    )

    def test_errors_add_in_squares(self):
        """log Z 0.196, sampling 0.588 and the test set 0.784 nats, of 1.96 errors each."""
        found = result.likelihood_record(AIS, self.LIKELIHOOD)
        assert found["test_nll"] == 87.0
        assert found["test_neg_elbo"] == 92.0
        assert found["unnormalized_nll"] == 80.0
        interval = found["nll_interval"]
        both = math.hypot(0.196, 0.588)
        assert interval["low"] == pytest.approx(87.0 - both, abs=1e-3)
        assert interval["high"] == pytest.approx(87.0 + both, abs=1e-3)
        all_three = math.hypot(both, 0.784)
        assert interval["low_with_test_set"] == pytest.approx(87.0 - all_three, abs=1e-3)
        assert interval["high_with_test_set"] == pytest.approx(87.0 + all_three, abs=1e-3)
        assert interval["log_z"] == pytest.approx([-0.196, 0.196], abs=1e-4)

    def test_lopsided_log_z(self):
        """A reverse estimate above widens the upper side alone."""
        found = result.likelihood_record(AIS._replace(reverse=8.0), self.LIKELIHOOD)
        interval = found["nll_interval"]
        assert interval["low"] == pytest.approx(87.0 - math.hypot(0.196, 0.588), abs=1e-3)
        assert interval["high"] == pytest.approx(87.0 + math.hypot(1.196, 0.588), abs=1e-3)

    def test_exact_log_z_replaces_ais(self):
        found = result.likelihood_record(AIS._replace(exact=6.0), self.LIKELIHOOD)
        assert found["test_nll"] == 86.0
        assert found["log_z_stderr"] == 0.0
        assert found["log_z_interval"]["forward_ais"] == 7.0
