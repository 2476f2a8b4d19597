"""Labels (R18): each refusal beside the same label without the defect."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.labels import MAX_LABEL_BYTES, check_label

pytestmark = pytest.mark.rule("R18")


@pytest.mark.parametrize(
    "label",
    [
        "MSI-StandaloneKey",
        "a",
        "Kasse 1",
        "Z\u00fcrich",
        "\u9375\u5319",
        "&<>\"' ]]>",
        "x" * 128,
        "\u00e9" * 64,
        "TESTKEY2024-08-14_20-02-48",
    ],
)
def test_ordinary_labels_are_taken_as_they_are(label: str) -> None:
    assert check_label(label) == label


@pytest.mark.parametrize(
    ("bad", "good", "word"),
    [
        ("", "k", "label.empty"),
        ("x" * 129, "x" * 128, "label.too-long"),
        ("\u00e9" * 64 + "x", "\u00e9" * 64, "label.too-long"),
        ("master/44", "master-44", "label.slash"),
        (".", "...", "label.dots"),
        ("..", ".k", "label.dots"),
        (" key", "key", "label.space"),
        ("key ", "key", "label.space"),
        ("key\u00a0", "key", "label.space"),
        ("Zu\u0308rich", "Z\u00fcrich", "label.not-nfc"),
        ("\u212b", "\u00c5", "label.not-nfc"),
        ("key\n", "key", "label.character"),
        ("key\tone", "key one", "label.character"),
        ("key\0", "key", "label.character"),
        ("key\x7f", "key", "label.character"),
        ("\u202ekey", "key", "label.character"),
        ("\u2066key", "key", "label.character"),
        ("ke\u200by", "key", "label.character"),
        ("ke\u00ady", "key", "label.character"),
        ("\ufeffkey", "key", "label.character"),
        ("key\u2028", "key", "label.character"),
        ("key\u2029", "key", "label.character"),
        ("key\ud800", "key", "label.character"),
        ("key\uffff", "key", "label.character"),
        ("key\U000e0041", "key", "label.character"),
        ("key\u0378", "key", "label.character"),
        ("key\ufe0f", "key", "label.character"),
        ("key\U000e0100", "key", "label.character"),
        ("ke\u034fy", "key", "label.character"),
        ("key\u3164", "key", "label.character"),
        ("key\uffa0", "key", "label.character"),
        ("key\u2800", "key", "label.character"),
    ],
)
def test_a_label_with_a_defect_is_refused_and_without_it_taken(bad: str, good: str, word: str) -> None:
    with pytest.raises(KeyturnError) as refused:
        check_label(bad)
    assert refused.value.code is ErrorCode.INVALID_KEY_NAME
    assert refused.value.refusal == word
    assert refused.value.message.isprintable()
    assert check_label(good) == good


@given(st.text(max_size=40))
def test_what_is_taken_survives_utf8_nfc_and_stripping_unchanged(label: str) -> None:
    taken, refused = "", None
    try:
        taken = check_label(label)
    except KeyturnError as error:
        refused = error
    if refused is not None:
        assert refused.code is ErrorCode.INVALID_KEY_NAME
        assert refused.message.isascii()
        return
    assert taken == label == label.strip() == unicodedata.normalize("NFC", label)
    assert label.isprintable() or any(unicodedata.category(c) in ("Zs", "Co") for c in label)
    assert 1 <= len(label.encode()) <= MAX_LABEL_BYTES
