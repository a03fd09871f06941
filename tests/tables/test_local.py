"""How many runs at once fit on a machine."""

from tables.local import Machine, slots


def test_slots_fit_the_machine(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)

    def threads(machine, jobs=None):
        return [int(slot.pop("TF_NUM_INTRAOP_THREADS")) for slot in slots(machine, jobs)]

    assert threads(Machine(2, 64.0, ())) == [1, 1]
    assert threads(Machine(8, 64.0, ())) == [1] * 8
    assert threads(Machine(8, 7.0, ())) == [4, 4]
    assert threads(Machine(1, 0.5, ())) == [1]
    assert threads(Machine(2, 64.0, ()), 3) == [1] * 3
    assert threads(Machine(8, 64.0, ()), 3) == [2] * 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    assert slots(Machine(8, 64.0, ()), None) == [{}] * 8  # the user's own setting stands
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    two = Machine(16, 128.0, (("a", 80.0), ("b", 16.0)))
    names = [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(two, None)]
    assert names == ["a", "b", "a", "b", "a", "a"]
    assert len(slots(two._replace(cores=3), None)) == 3
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(two, 2)] == ["a", "b"]
