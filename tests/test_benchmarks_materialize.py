"""The benchmark of materialising, in a small form."""


def test_it_writes_and_looks_up(script):
    module = script("benchmarks/materialize.py")
    result = module.measure(30)
    assert result["users"] == 30
    assert result["seconds"] > 0
    assert result["look_ups_per_second"] > 0
