from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mmconvnext
from mmconvnext.cli.main import main
from mmconvnext.recipes import load_recipes

ROOT = Path(mmconvnext.__file__).parents[1]


def test_every_recipe_is_listed(capsys) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    for recipe in load_recipes():
        assert f"configs/{recipe.config}" in out
    assert "54.8/47.6" in out and "CC BY-NC 4.0" in out and "Published: the authors' figures" in out


def test_filter_wants_all_words(capsys) -> None:
    assert main(["recipes", "--json", "--filter", "CASCADE", "22k"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["network"] for row in found] == ["ConvNeXt-B", "ConvNeXt-L", "ConvNeXt-XL"]
    assert found[0]["box_ap"] == 54.0 and found[0]["miou"] is None
    assert found[0]["weights_licence"] == "MIT"
    assert found[0]["weights_address"].endswith("/convnext_base_22k_224.pth")


def test_no_match_is_one_line(capsys) -> None:
    assert main(["recipes", "--filter", "resnet"]) == 2
    assert "--filter resnet: no recipe has all of these words" in capsys.readouterr().err


def test_model_zoo_page_is_what_the_command_writes(capsys) -> None:
    assert main(["recipes", "--markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "model_zoo.md").read_text()


def test_links_of_the_page_lead_to_configs() -> None:
    page = (ROOT / "docs" / "model_zoo.md").read_text()
    for recipe in load_recipes():
        assert f"](../configs/{recipe.config}) |" in page
        assert (ROOT / "configs" / recipe.config).is_file()


def test_listing_does_not_wait_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['mmconvnext', 'recipes', '--filter', 'xl']; "
        "from _mmconvnext_command import main; assert main() == 0; "
        "print([m for m in ('torch', 'mmengine') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


@pytest.mark.parametrize("recipe", load_recipes(), ids=lambda recipe: recipe.config)
def test_a_recipe_is_shown_with_what_is_known(recipe) -> None:
    row = recipe.as_dict()
    published = [row[key] for key in ("box_ap", "mask_ap", "miou", "miou_ms")]
    assert (recipe.published == "-") == (published == [None] * 4) == ("dinov3" in recipe.config)
    assert row["weights_licence"] in ("MIT", "CC BY-NC 4.0", "DINOv3 License")
    assert (row["weights_address"] is None) == ("dinov3" in recipe.config)
