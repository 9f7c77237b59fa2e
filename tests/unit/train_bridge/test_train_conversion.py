"""Logits equal to transformers'; settings in every form; folders in and out; exports that fail the comparison."""

import json
import math

import pytest
import torch

from dolma_py.errors import ConfigError, DataError, SchemaError
from tests.unit.train_bridge.test_train_generation import finished_run  # noqa: F401  # a fixture
from tests.unit.train_bridge.test_train_model import YARN, random_ids, small_config, small_model
from train_bridge import hf_files, logits_gate, run_export
from train_bridge.attention import document_ids_from_eos
from train_bridge.conversion import from_hf_name, hf_config_values, hf_state_dict, pad_rows, read_hf_config, to_hf_name
from train_bridge.hf_files import is_hf_folder, load_hf_model, write_hf_folder
from train_bridge.logits_gate import check_logits, gate_ids
from train_bridge.model import ModelConfig
from train_bridge.presets import preset_values
from train_bridge.run_export import REPORT_NAME, export_hf

transformers = pytest.importorskip("transformers", reason="the peer of these tests is not installed")
VOCAB = 90  # of the tokenizer; small_model has 96 rows, a released model 128


def config_values(config, vocab_size=VOCAB):
    return hf_config_values(config, vocab_size=vocab_size, context_tokens=128, eos_token_id=0)


def make_peer(model, **changes):
    values = {**config_values(model.config), **changes}
    peer = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**values)).eval()
    missing, unexpected = peer.load_state_dict(hf_state_dict(model, vocab_size=VOCAB), strict=False)
    assert (list(missing), list(unexpected)) == ([], [])
    return peer


def difference(model, peer, ids, documents=None, position_ids=None):
    with torch.no_grad():
        expected = peer(ids, position_ids=position_ids, use_cache=False).logits.float()
        return float((model(ids, documents_BT=documents)[..., :VOCAB] - expected).abs().max())


@pytest.mark.parametrize("kv_heads", [4, 2], ids=["MHA", "GQA"])
@pytest.mark.parametrize("yarn", [None, YARN], ids=["plain", "yarn"])
def test_logits_match_transformers(kv_heads, yarn):
    """48 tokens, windows of 4, heads that do not add up to the width. transformers 5.23 scales full layers only, too."""
    model = small_model(num_kv_heads=kv_heads, yarn=yarn)
    assert difference(model, make_peer(model), random_ids(2, 48, vocab=VOCAB)) < 1e-5


def test_packed_documents_match_transformers():
    """Three documents in a row: by our mask with positions that run on, by positions that begin again in transformers."""
    model = small_model(yarn=YARN)
    ids = random_ids(1, 40, vocab=VOCAB).clamp(min=1)
    ids[0, [9, 25]] = 0
    positions = torch.cat([torch.arange(10), torch.arange(16), torch.arange(14)])[None]
    peer = make_peer(model)
    assert difference(model, peer, ids, document_ids_from_eos(ids, 0), positions) < 1e-5
    assert difference(model, peer, ids, None, positions) > 1e-2


def test_bfloat16_logits_match_transformers_within_the_stated_bound():
    """3 % of the largest logit to each other, in the middle 3 % of the logits' deviation to float32; docs/model.md has more shapes."""
    model = small_model(yarn=YARN)
    ids, peer = random_ids(1, 48, vocab=VOCAB), make_peer(model)
    with torch.no_grad():
        exact = model(ids)[..., :VOCAB]
    for parameter in (*model.parameters(), *peer.parameters()):
        parameter.data = parameter.data.bfloat16()
    with torch.no_grad():
        ours, theirs = model(ids)[..., :VOCAB], peer(ids).logits.float()
    assert float((ours - theirs).abs().max()) < 0.03 * float(exact.abs().max())
    # 8 bits of precision were lost indeed, and no more than on the other side
    error, their_error = (float((logits - exact).std() / exact.std()) for logits in (ours, theirs))
    assert 0.002 < error < 0.03 and error < 1.2 * their_error


def test_names_go_both_ways_and_cover_transformers():
    model = small_model(num_layers=2)
    theirs = {name: tensor.shape for name, tensor in make_peer(model).state_dict().items()}
    assert len(theirs) == 2 * 11 + 3
    for name, tensor in model.state_dict().items():
        assert from_hf_name(to_hf_name(name)) == name
        assert tensor.shape[1:] == theirs[to_hf_name(name)][1:]
    assert {to_hf_name(name) for name in model.state_dict()} == set(theirs)
    for name in ("model.layers.0.input_layernorm.weight", "model.layers.x.mlp.up_proj.weight", "blocks.0.w"):
        with pytest.raises(SchemaError, match=name):
            from_hf_name(name)


@pytest.mark.parametrize("preset", ["olmo3_7b", "olmo3_32b", "ladder_14m"])
@pytest.mark.parametrize("has_yarn", [False, True])
def test_settings_come_back_as_they_went(preset, has_yarn):
    config = ModelConfig(**preset_values(preset), yarn={} if has_yarn else None)
    values = hf_config_values(config, vocab_size=100_278, context_tokens=65_536, eos_token_id=100_257)
    found = read_hf_config(json.loads(json.dumps(values)), where="config.json")
    # the last layer is full whatever the pattern says, so four layers may be described by a shorter one
    assert found.config.model_copy(update={"window_pattern": config.window_pattern}) == config
    layers = range(config.num_layers)
    assert [found.config.layer_window(n) for n in layers] == [config.layer_window(n) for n in layers]
    assert (found.vocab_size, found.context_tokens, found.end_ids) == (100_278, 65_536, (100_257,))


def flat_values(config, **scaling):
    """As transformers 4.57 writes them."""
    values = config_values(config)
    del values["rope_parameters"]
    return {**values, "rope_theta": config.rope_theta, "rope_scaling": scaling or None}


RELEASED = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}


def test_flat_settings_scale_the_full_layers_only():
    expected = small_config(yarn=YARN, vocab_size=128, window_pattern=("sliding",) * 3 + ("full",))
    forms = [flat_values(expected, **RELEASED), flat_values(expected, **RELEASED, attention_factor=1.2079441541679836)]
    forms.append({**config_values(expected), "rope_parameters": {**RELEASED, "rope_theta": 500_000.0}})
    forms.append(config_values(expected))
    assert [read_hf_config(form, where="c").config for form in forms] == [expected] * 4
    assert read_hf_config(flat_values(expected), where="c").config == expected.model_copy(update={"yarn": None})


def test_transformers_reads_flat_settings_as_we_do():
    """With base 500,000. With another it takes 500,000 on sliding layers (5.23): why we write the nested form."""
    model = small_model(yarn=YARN)
    ids = random_ids(1, 40, vocab=VOCAB)
    values = flat_values(model.config, **RELEASED)
    assert difference(model, make_peer(model, rope_parameters=None, rope_theta=5e5, rope_scaling=RELEASED), ids) < 1e-5
    other = small_model(rope_theta=1000.0)
    values = {"rope_parameters": None, "rope_theta": 1000.0, "rope_scaling": None}
    assert difference(other, make_peer(other), ids) < 1e-5 < 1e-3 < difference(other, make_peer(other, **values), ids)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rms_norm_eps": None}, "lacks rms_norm_eps"),
        ({"rope_parameters": None}, "lacks rope_theta and rope_scaling"),
        ({"attention_bias": True}, "attention_bias is True, Olmo 3 has False"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', Olmo 3 has 'silu'"),
        ({"model_type": "olmo2"}, "model_type is 'olmo2', Olmo 3 has 'olmo3'"),
        ({"layer_types": ["sliding_attention"] * 5}, "the last full_attention"),
        ({"layer_types": ["full_attention"] * 4}, "for each of 5 layers"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1.0}}, "expected rope_type default or yarn"),
        ({"rope_parameters": {**RELEASED, "rope_theta": 5e5, "attention_factor": 1.0}}, "attention_factor is 1.0"),
        ({"rope_parameters": {**RELEASED, "rope_theta": 5e5, "truncate": False}}, "truncate is False"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5}}, "lack factor, original_max"),
        (
            {
                "rope_parameters": dict.fromkeys(
                    ("full_attention", "sliding_attention"), {**RELEASED, "rope_theta": 5e5}
                )
            },
            "sliding_attention.rope_type is 'yarn'",
        ),
    ],
)
def test_settings_that_olmo_3_cannot_have_are_refused(changes, problem):
    values = {**config_values(small_config()), **changes}
    values = {key: value for key, value in values.items() if value is not None or key == "bos_token_id"}
    with pytest.raises(DataError, match=problem.replace("(", r"\(")):
        read_hf_config(values, where="c")


def write_folder(folder, model, **changes):
    folder.mkdir()
    (folder / "tok.json").write_text('{"added_tokens": []}')
    values = {**config_values(model.config), "pad_token_id": None}
    write_hf_folder(folder, model, values, dtype=changes.pop("dtype", torch.float32), tokenizer=folder / "tok.json")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, **changes}))
    return folder


def test_a_folder_goes_out_and_in_with_its_vocabulary_cut_and_padded(tmp_path, monkeypatch):
    """In one file and in several; 90 rows there, 128 here."""
    model, ids = small_model(yarn=YARN), random_ids(1, 30, vocab=VOCAB)
    one = write_folder(tmp_path / "one", model)
    monkeypatch.setattr(hf_files, "MAX_FILE_BYTES", 20_000)
    several = write_folder(tmp_path / "several", model)
    assert len(list(several.glob("*.safetensors"))) > 3 and is_hf_folder(several)
    assert max(path.stat().st_size for path in several.glob("*.safetensors")) < 25_000
    with torch.no_grad():
        expected = model(ids)[..., :VOCAB]
        for folder in (one, several):
            read = load_hf_model(folder).model
            assert read.embeddings.weight.shape == read.lm_head.w_out.weight.shape == (128, 32)
            assert torch.equal(read(ids)[..., :VOCAB], expected)
            peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
            assert peer.lm_head.weight.shape == (VOCAB, 32)
            assert float((peer(ids).logits - expected).abs().max()) < 1e-5


def test_a_folder_that_transformers_wrote_is_read(tmp_path):
    """Its own writer's files, in bfloat16, with rows for the padded vocabulary too."""
    model, ids = small_model(yarn=YARN), random_ids(1, 30, vocab=VOCAB)
    peer = make_peer(model)
    peer.save_pretrained(tmp_path / "theirs")
    assert difference(load_hf_model(tmp_path / "theirs").model, peer, ids) < 1e-5
    padded = small_model(vocab_size=128)
    values = config_values(padded.config, vocab_size=128)
    wide = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**values)).bfloat16().eval()
    wide.save_pretrained(tmp_path / "wide")
    config = json.loads((tmp_path / "wide" / "config.json").read_text())
    (tmp_path / "wide" / "config.json").write_text(json.dumps({**config, "vocab_size": VOCAB}))
    read = load_hf_model(tmp_path / "wide").model
    assert read.embeddings.weight.dtype == torch.float32
    assert torch.equal(read.lm_head.w_out.weight, wide.lm_head.weight.float())


def test_padding_rows_hardly_move_the_loss():
    """38 rows of the mean below 90: the sum of exponentials grows by 38 / 90 at most, and never shrinks."""
    model, ids = small_model(), random_ids(4, 20, vocab=VOCAB)
    weight = model.lm_head.w_out.weight.detach()[:VOCAB]
    hidden = model.hidden(ids).detach()
    padded = pad_rows(weight, 128)
    assert padded.shape == (128, 32) and torch.equal(padded[:VOCAB], weight) and torch.equal(padded[90], padded[127])
    grown = torch.logsumexp(hidden @ padded.T, -1) - torch.logsumexp(hidden @ weight.T, -1)
    assert float(grown.min()) > 0 and float(grown.max()) <= math.log(1 + 38 / 90) + 1e-5


def test_folders_that_do_not_fit_are_refused(tmp_path):
    model = small_model()
    cases = {
        "shape": ({"intermediate_size": 50}, "has shape (32, 48), config.json asks for (32, 50)"),
        "layers": ({"num_hidden_layers": 6, "layer_types": ["full_attention"] * 6}, "lacks the tensors of blocks.5."),
        "fewer": ({"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4}, "belongs to no parameter"),
        "rows": ({"vocab_size": 80}, "has 90 rows, expected 80 or, padded, 128"),
    }
    for name, (changes, problem) in cases.items():
        with pytest.raises(DataError) as caught:
            load_hf_model(write_folder(tmp_path / name, model, **changes))
        assert problem in str(caught.value), name
    folder = write_folder(tmp_path / "pickle", model)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="Pickles"):
        load_hf_model(folder)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_hf_model(folder)
    assert not is_hf_folder(tmp_path)


def test_the_gate_reads_beyond_the_window():
    assert gate_ids(small_model(), vocab_size=VOCAB, context_tokens=128).shape == (1, 36)
    assert gate_ids(small_model(), vocab_size=VOCAB, context_tokens=20).shape == (1, 20)


@pytest.mark.parametrize(
    "changes",
    [{"sliding_window": 5}, {"rms_norm_eps": 1e-5}, {"layer_types": ["full_attention"] * 5}, "yarn on all layers"],
)
def test_the_gate_stops_settings_that_have_the_right_keys(tmp_path, changes):
    model = small_model(yarn=YARN)
    if isinstance(changes, str):
        full = config_values(model.config)["rope_parameters"]["full_attention"]
        changes = {"rope_parameters": {"full_attention": full, "sliding_attention": full}}
    ids = gate_ids(model, vocab_size=VOCAB, context_tokens=128)
    with torch.no_grad():
        logits = model(ids)[0, :, :VOCAB]
    assert check_logits(write_folder(tmp_path / "right", model), logits, ids).max_abs_difference < 1e-5
    wrong = write_folder(tmp_path / "wrong", model, **changes)
    with pytest.raises(DataError, match=r"logits that differ by .* over 36 tokens; allowed"):
        check_logits(wrong, logits, ids)


def test_an_export_that_fails_the_gate_is_not_written(finished_run, tmp_path, monkeypatch):  # noqa: F811
    """A fault planted in the settings; nothing is left, and the right export then goes to the same place."""
    output = tmp_path / "hf"
    right = run_export.hf_config_values
    monkeypatch.setattr(run_export, "hf_config_values", lambda *a, **k: {**right(*a, **k), "rms_norm_eps": 1e-4})
    with pytest.raises(DataError, match="Nothing was written"):
        export_hf(run=str(finished_run), output=str(output), dtype="float32")
    assert sorted(path.name for path in tmp_path.iterdir() if "hf" in path.name) == []
    monkeypatch.undo()
    monkeypatch.setattr(logits_gate, "MAX_REL_DIFFERENCE", float("nan"))
    with pytest.raises(DataError, match="Nothing was written"):
        export_hf(run=str(finished_run), output=str(output), dtype="float32")
    monkeypatch.undo()
    report = export_hf(run=str(finished_run), output=str(output), dtype="bfloat16")
    assert json.loads((output / REPORT_NAME).read_text()) == report
    assert report["max_abs_difference"] <= report["allowed_difference"] < 1e-3
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    ours = json.loads((output / "config.json").read_text())
    assert (tokenizer.eos_token_id, ours["dtype"], ours["vocab_size"]) == (0, "bfloat16", 300)
    text = "A short text, with  two spaces ."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    with pytest.raises(ConfigError, match="expected a folder that is not there yet"):
        export_hf(run=str(finished_run), output=str(output), dtype="float32")
    with pytest.raises(ConfigError, match="expected one of float32, bfloat16"):
        export_hf(run=str(finished_run), output=str(tmp_path / "x"), dtype="int8")
