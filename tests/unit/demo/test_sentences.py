"""What the scripted agent takes for the answer."""

from tmws_local.demo.sentences import best_sentence

TEXT = "Bread is baked at dawn. The ferry leaves at noon. Nobody knows why."


def test_the_sentence_with_most_words_in_common_is_taken():
    assert best_sentence("When does the ferry leave?", TEXT) == "The ferry leaves at noon."


def test_endings_do_not_matter():
    assert best_sentence("baking breads", TEXT) == "Bread is baked at dawn."


def test_no_text_has_no_answer():
    assert best_sentence("When?", "") == ""
