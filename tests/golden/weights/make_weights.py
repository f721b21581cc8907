"""One small BERT in every form in which its weights can be saved, and LoRA adapters with what they merge to.

    python make_weights.py [OUT_DIR]      (torch, transformers, peft, safetensors, tokenizers)

Every folder but the last four holds the same weights, so the hidden states must be the same to the last bit:
  single    model.safetensors
  sharded   three shards and model.safetensors.index.json
  bin       pytorch_model.bin, as torch.save writes a state dict; one tensor is a transposed view, one a slice
  ckpt      a Lightning checkpoint with settings, optimiser state, a head and compiled names (model._orig_mod.bert.)
  lora, lora-gpt2      adapters on `single` and `gpt2`, with the hidden states of peft in float64 (states_i for ids_i)
  hostile, legacy      a .bin that would call a function, and one in PyTorch's format from before version 1.6
"""
import argparse
import json
import os
import sys

import torch
import transformers as T
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + "a boat the old river you see leaves smoke and".split()
IDS = [[2, 5, 7, 3], [2, 9, 4, 8, 12, 6, 13, 3], [2, 3]]


def folder(out, name, config):
    path = os.path.join(out, name)
    os.makedirs(path, exist_ok=True)
    if config is not None:
        keys = config.to_dict()
        kept = ("id2label", "label2id", "architectures", "transformers_version")
        json.dump({k: v for k, v in keys.items() if k not in kept}, open(os.path.join(path, "config.json"), "w"), indent=1)
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        tokenizer.save(os.path.join(path, "tokenizer.json"))
    return path


def shaken(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def states(model, path):
    store = {}
    model = model.double().eval()
    for i, ids in enumerate(IDS):
        with torch.no_grad():
            ids = torch.tensor([ids])
            o = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        store[f"ids_{i}"] = ids[0].clone()
        store[f"states_{i}"] = torch.stack(o.hidden_states)[:, 0].float().contiguous()
    save_file(store, os.path.join(path, "hidden_states.safetensors"))


def lora(out, name, model, base, targets, **settings):
    path = folder(out, name, None)
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=targets, **settings))
    with torch.no_grad():
        for key, p in peft.named_parameters():
            if "lora_" in key:
                p.copy_(torch.randn_like(p) * 0.3)
    peft.save_pretrained(path)
    keys = json.load(open(os.path.join(path, "adapter_config.json")))
    keys["base_model_name_or_path"] = base
    json.dump(keys, open(os.path.join(path, "adapter_config.json"), "w"), indent=1)
    states(peft, path)
    for extra in ("README.md",):
        if os.path.exists(os.path.join(path, extra)):
            os.remove(os.path.join(path, extra))


class Hostile:
    def __reduce__(self):
        return (os.system, ("echo this must never run > PWNED",))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", default=os.path.dirname(os.path.abspath(sys.argv[0])))
    out = parser.parse_args().out
    torch.manual_seed(3)
    config = T.BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                          intermediate_size=12, max_position_embeddings=16)
    model = shaken(T.BertModel(config, add_pooling_layer=False))
    state = {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}

    save_file(state, os.path.join(folder(out, "single", config), "model.safetensors"), metadata={"format": "pt"})

    path, names, where = folder(out, "sharded", config), sorted(state), {}
    for i in range(3):
        shard = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({n: state[n] for n in names[i::3]}, os.path.join(path, shard), metadata={"format": "pt"})
        where.update({n: shard for n in names[i::3]})
    total = sum(v.numel() * 4 for v in state.values())
    json.dump({"metadata": {"total_size": total}, "weight_map": where},
              open(os.path.join(path, "model.safetensors.index.json"), "w"), indent=1)

    views = dict(state)
    key = "encoder.layer.0.intermediate.dense.weight"
    views[key] = state[key].t().contiguous().t()
    key = "encoder.layer.1.output.dense.weight"
    wide = torch.zeros(10, 14)
    wide[1:9, 2:14] = state[key]
    views[key] = wide[1:9, 2:14]
    torch.save(views, os.path.join(folder(out, "bin", config), "pytorch_model.bin"))

    wrapped = {f"model._orig_mod.bert.{k}": torch.nn.Parameter(v) if "key" in k else v for k, v in views.items()}
    wrapped["model._orig_mod.classifier.weight"] = torch.ones(2, 8)
    wrapped["model._orig_mod.bert.embeddings.position_ids"] = torch.arange(16).expand((1, -1))
    torch.save({"epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.5.0", "state_dict": wrapped,
                "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}},
                "optimizer_states": [{"state": {0: {"step": torch.tensor(12.0)}}, "param_groups": [{"lr": 1e-5}]}],
                "hparams_name": "kwargs", "hyper_parameters": {"lr": 1e-5, "args": argparse.Namespace(seed=1), "none": None}},
               os.path.join(folder(out, "ckpt", config), "epoch=3-step=12.ckpt"))

    lora(out, "lora", model, "../single", ["query", "value", "intermediate.dense"], use_rslora=True)
    torch.manual_seed(4)
    config = T.GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=8, n_layer=2, n_head=2, n_inner=12)
    model = shaken(T.GPT2Model(config))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()},
              os.path.join(folder(out, "gpt2", config), "model.safetensors"), metadata={"format": "pt"})
    lora(out, "lora-gpt2", model, "gpt2", ["c_attn", "c_proj", "wte"], fan_in_fan_out=True)

    small = T.BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=12, max_position_embeddings=16)
    torch.save({"weight": torch.ones(2), "x": Hostile()}, os.path.join(folder(out, "hostile", small), "pytorch_model.bin"))
    torch.save({"weight": torch.ones(2)}, os.path.join(folder(out, "legacy", small), "pytorch_model.bin"),
               _use_new_zipfile_serialization=False)


main()
