"""The table of cards against data sheets, and the names that people give them."""

from __future__ import annotations

import pytest

from trainer import sizing

GIB = 1 << 30


def test_a_4070_is_that_of_its_data_sheet() -> None:
    card = sizing.CARDS["RTX 4070"]
    assert card.bf16_flops == pytest.approx(58.3e12, rel=0.002)
    assert card.fp8_flops == pytest.approx(116.6e12, rel=0.002)
    assert card.int8_flops == pytest.approx(233e12, rel=0.002)
    assert card.bandwidth_bytes_per_second == 504e9
    assert card.watts == 200


def test_usable_memory_is_what_a_process_really_gets() -> None:
    card = sizing.CARDS["RTX 4070"]
    assert card.headless_bytes / GIB == pytest.approx(11.7, abs=0.05)
    assert card.desktop_bytes / GIB == pytest.approx(11.2, abs=0.05)
    assert sizing.CARDS["RTX 4070 Laptop"].desktop_bytes / GIB == pytest.approx(7.3, abs=0.05)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtx4070", "RTX 4070"),
        ("RTX 4070", "RTX 4070"),
        ("4070", "RTX 4070"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("rtx-4070-laptop", "RTX 4070 Laptop"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "RTX 4070 Laptop"),
        ("rtx4060ti-16gb", "RTX 4060 Ti 16GB"),
    ],
)
def test_people_write_cards_in_many_ways(text: str, name: str) -> None:
    card = sizing.card_wanted(text)
    assert card is not None
    assert card.name == name


@pytest.mark.parametrize("text", ["", "rtx", "407", "RTX 4070 Turbo", "H100"])
def test_a_card_that_is_not_in_the_table_is_none(text: str) -> None:
    assert sizing.card_wanted(text) is None


def test_no_two_cards_are_written_alike() -> None:
    found = [sizing.card_wanted(name) for name in sizing.CARDS]
    assert found == list(sizing.CARDS.values())


def test_ampere_has_no_fp8() -> None:
    assert sizing.CARDS["RTX 3090"].fp8_flops == 0
    assert sizing.CARDS["RTX 5090"].fp8_flops == pytest.approx(419e12, rel=0.002)
