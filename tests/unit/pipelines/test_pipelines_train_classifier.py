import pytest

from pipelines.train_classifier import TrainClassifierConfig, labels_config


def test_the_step_trains_by_the_trainer_of_labels():
    settings = TrainClassifierConfig(
        positives=["{corpus}/good/*.jsonl"], negatives=["/data/bad.jsonl"], negatives_where={"kind": "license"},
        max_docs=50, max_text_bytes=300, target_precision=0.8, quantize=True, classifier={"dim": 7},
    )  # fmt: skip
    config = labels_config(settings)
    good, bad = config.examples
    # {folder} stands for the corpus' folder: the card names no place of the machine
    assert (good.name, good.inputs, good.label, good.where) == ("positives", ["{folder}/good/*.jsonl"], "hq", {})
    assert (bad.name, bad.inputs, bad.label, bad.where) == ("negatives", ["/data/bad.jsonl"], "cc", {"kind": "license"})
    assert {source.max_docs for source in config.examples} == {50}
    assert {source.max_text_bytes for source in config.examples} == {300}
    assert (config.positive_label, config.target_precision, config.quantize) == ("hq", 0.8, True)
    assert config.classifier.dim == 7


def test_two_labels_must_differ():
    with pytest.raises(ValueError, match="must differ"):
        TrainClassifierConfig(positives=["a"], negatives=["b"], positive_label="cc")
