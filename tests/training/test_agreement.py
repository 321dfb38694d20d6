"""One process does what it wishes at once; several are joined in test_processes."""

from cmrjax.training.agreement import Alone, make_agreement
from cmrjax.training.sharding import data_parallel


def test_one_process_does_what_it_wishes_at_once():
    agreement = make_agreement(data_parallel(batch_size=8))
    assert isinstance(agreement, Alone)
    agreement.meet("SIGTERM")
    assert agreement.exchange(None, save=False) is False
    assert agreement.exchange(None, save=True) is True
    assert agreement.stopped_by(None) is None
    assert agreement.stopped_by("SIGTERM") == "SIGTERM"
