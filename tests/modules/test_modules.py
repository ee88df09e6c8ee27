"""Queue, teacher, split batch norm, heads and shuffled encoding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sslzoo.modules.batch_norm import SplitBatchNorm2d, has_batch_norm, split_batch_norm
from sslzoo.modules.heads import Head, HeadConfig
from sslzoo.modules.momentum import Teacher
from sslzoo.modules.queue import Queue
from sslzoo.runtime.distributed import encode_shuffled


@given(size=st.integers(1, 20), batches=st.lists(st.integers(1, 30), max_size=8))
def test_queue_holds_the_last_keys_for_any_batch_sizes(size: int, batches: list[int]) -> None:
    queue = Queue(size, 3)
    kept = list(queue.keys)  # oldest first
    for number, n in enumerate(batches):
        keys = F.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(number)), dim=1)
        queue.push(keys)
        kept = [*kept, *keys][-size:]
    cursor = int(queue.cursor)
    oldest_first = torch.cat([queue.keys[cursor:], queue.keys[:cursor]])
    assert torch.equal(oldest_first, torch.stack(kept))


def test_queue_is_in_the_state_dict_and_starts_with_unit_vectors() -> None:
    queue = Queue(8, 4)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(8))
    queue.push(F.normalize(torch.randn(3, 4), dim=1))
    other = Queue(8, 4)
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.keys, queue.keys)
    assert int(other.cursor) == 3


def test_teacher_averages_parameters_and_buffers_without_gradient() -> None:
    student = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    teacher = Teacher(student, momentum=0.9)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    student(torch.randn(8, 3, 2, 2))  # updates the running statistics
    teacher.update(student, progress=0.0)
    for name, value in teacher.model.state_dict().items():
        theirs = student.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * theirs if value.is_floating_point() else theirs
        torch.testing.assert_close(value, expected)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(torch.randn(2, 3, 2, 2)).requires_grad


def test_teacher_momentum_follows_a_cosine() -> None:
    teacher = Teacher(nn.Linear(1, 1), momentum=0.9, momentum_end=1.0)
    assert [teacher.momentum_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.95, 1.0])
    constant = Teacher(nn.Linear(1, 1), momentum=0.9)
    assert constant.momentum_at(0.7) == 0.9


def test_split_batch_norm_normalizes_each_chunk_separately() -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    split = SplitBatchNorm2d(plain, splits=4)
    x = torch.randn(16, 5, 3, 3) * 2 + 1
    chunks = [F.batch_norm(part, None, None, plain.weight, plain.bias, training=True) for part in x.chunk(4)]
    torch.testing.assert_close(split(x), torch.cat(chunks), atol=1e-5, rtol=1e-5)
    means = torch.stack([part.mean((0, 2, 3)) for part in x.chunk(4)]).mean(0)
    torch.testing.assert_close(split.running_mean, 0.1 * means)
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in x.chunk(4)]).mean(0)
    torch.testing.assert_close(split.running_var, 0.9 + 0.1 * variances)
    assert split.state_dict().keys() == plain.state_dict().keys()
    split.eval()
    plain.load_state_dict(split.state_dict())
    torch.testing.assert_close(split(x), plain.eval()(x))


def test_split_batch_norm_rejects_a_batch_that_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="6 images cannot be divided into 4 chunks"):
        SplitBatchNorm2d(nn.BatchNorm2d(2), 4)(torch.randn(6, 2, 1, 1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("splits", [1, 4])
def test_split_batch_norm_compiled_equals_chunk_by_chunk(splits: int, memory_format: torch.memory_format) -> None:
    """Compare output, gradients and running statistics; the memory format of the input is kept."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    each, together = SplitBatchNorm2d(plain, splits), SplitBatchNorm2d(plain, splits)
    compiled = torch.compile(together, backend="eager", fullgraph=True)
    x = (torch.randn(8, 5, 6, 6) * 2 + 1).to(memory_format=memory_format)
    upstream = torch.randn_like(x)
    results = []
    for norm, call in ((each, each), (together, compiled)):
        image = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = call(image)
        assert out.is_contiguous(memory_format=memory_format)
        (out * upstream).sum().backward()
        results.append([out, image.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    torch._dynamo.reset()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


def test_split_batch_norm_keeps_the_activation_of_timms_norm() -> None:
    import timm

    model = timm.create_model("efficientnet_b0", num_classes=0)
    names = set(model.state_dict())
    torch.manual_seed(0)
    x = torch.randn(4, 3, 32, 32)
    expected = model.eval()(x)
    split = split_batch_norm(model, 2)
    assert any(isinstance(part, SplitBatchNorm2d) for part in split.modules())
    assert set(split.state_dict()) == names
    torch.testing.assert_close(split.eval()(x), expected)
    assert split.train()(x).shape == expected.shape


def test_one_chunk_is_plain_batch_norm() -> None:
    torch.manual_seed(0)
    plain, x = nn.BatchNorm2d(5), torch.randn(6, 5, 3, 3)
    one = SplitBatchNorm2d(plain, 1)
    assert torch.equal(one(x), plain(x))
    assert all(torch.equal(mine, its) for mine, its in zip(one.buffers(), plain.buffers(), strict=True))


def test_has_batch_norm_finds_batch_norm_only() -> None:
    assert has_batch_norm(nn.Sequential(nn.BatchNorm2d(1)))
    assert not has_batch_norm(nn.Sequential(nn.LayerNorm(1)))


def test_shuffled_encoding_restores_the_order() -> None:
    seen = []

    def encode(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x * 2

    x = torch.arange(32.0)[:, None]
    torch.testing.assert_close(encode_shuffled(encode, x, 0, 1), x * 2)
    assert not torch.equal(seen[0], x)
    encode_shuffled(encode, x, 0, 2)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(("layers", "norm"), [(1, "none"), (2, "none"), (3, "batch")])
def test_head_has_the_configured_layers(layers: int, norm: str) -> None:
    head = Head(6, HeadConfig(layers=layers, hidden=10, out=4, norm=norm))
    assert head(torch.randn(5, 6)).shape == (5, 4)
    assert sum(isinstance(part, nn.Linear) for part in head) == layers
    assert sum(isinstance(part, nn.BatchNorm1d) for part in head) == (layers - 1 if norm == "batch" else 0)


def test_output_norm_has_no_scale_and_no_shift() -> None:
    head = Head(6, HeadConfig(hidden=10, out=4, out_norm="batch"))
    out = head(torch.randn(50, 6) + 3)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-2, rtol=0)
    assert not list(head[-1].parameters())


def test_default_head_is_the_projector_of_the_paper() -> None:
    parts = [type(part).__name__ for part in Head(512, HeadConfig())]
    assert parts == ["Linear", "ReLU", "Linear"]
    shapes = [tuple(part.weight.shape) for part in Head(512, HeadConfig()) if isinstance(part, nn.Linear)]
    assert shapes == [(2048, 512), (128, 2048)]
