"""The list of all parts."""

from experiments import parts
from experiments.run.config import Config, describe
from experiments.run.roles import ROLES
from tests import commands


def test_every_part_has_a_line_with_its_field_signature_and_source():
    lines = commands.call("parts").splitlines()
    fields = {described.name for described in describe(Config())}
    for field, (role, later) in ROLES.items():
        assert field in fields
        for name, function in role.parts.items():
            (line,) = [line for line in lines if line.split()[:1] == [field] and line.split()[1].split("(")[0] == name]
            assert parts.source(function)
            assert line.endswith(parts.source(function))
            assert not [argument for argument in later if f"{argument}=" in line]
    assert any("iaf(num_layers=2, hidden=(64,))" in line and "arXiv:1606.04934" in line for line in lines)
