import pytest
import torch
import torch.nn.functional as F

from mmconvnext.compat.mmcv_ops import install

install()

from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss  # noqa: E402

CLASSES = 4
# Background (CLASSES) and an unlabelled item (-1) beside real labels.
SIGMOID_LABELS = torch.tensor([0, 3, 1, CLASSES, -1, 2])
SOFTMAX_LABELS = torch.tensor([0, 3, 1, 2, -1, 2])


def logits(items=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(items, CLASSES, generator=generator, dtype=torch.float64) * 3
    return values.to(dtype).requires_grad_()


def sigmoid_reference(x, labels, gamma, alpha, weight=None):
    """The paper's formula on autograd, item by class."""
    one_hot = F.one_hot(labels.clamp(0, CLASSES), CLASSES + 1)[:, :CLASSES] * (labels >= 0)[:, None]
    p = x.sigmoid()
    p_t = torch.where(one_hot == 1, p, 1 - p)
    alpha_t = torch.where(one_hot == 1, torch.full_like(p, alpha), torch.full_like(p, 1 - alpha))
    loss = -alpha_t * (1 - p_t) ** gamma * p_t.log()
    if weight is not None:
        by_item = [weight[k] if 0 <= k < CLASSES else weight.new_tensor(1) for k in labels.tolist()]
        loss = loss * torch.stack(by_item)[:, None]
    return loss


def softmax_reference(x, labels, gamma, alpha, weight=None):
    losses = []
    for row, label in zip(x, labels.tolist(), strict=True):
        if label < 0:
            losses.append(row.sum() * 0)
            continue
        p = row.softmax(0)[label]
        factor = alpha if weight is None else alpha * weight[label]
        losses.append(-factor * (1 - p) ** gamma * p.log())
    return torch.stack(losses)


CASES = {
    "sigmoid": (sigmoid_focal_loss, sigmoid_reference, SIGMOID_LABELS),
    "softmax": (softmax_focal_loss, softmax_reference, SOFTMAX_LABELS),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [2.0, 0.5, 0.0])
def test_loss_and_gradient_equal_the_formula(name, weighted, gamma):
    loss_of, reference, labels = CASES[name]
    weight = torch.tensor([0.5, 2.0, 1.5, 3.0], dtype=torch.float64) if weighted else None
    x, y = logits(), logits()
    expected = reference(y, labels, gamma, 0.3, weight)
    torch.testing.assert_close(loss_of(x, labels, gamma, 0.3, weight, "none"), expected)
    loss = loss_of(x, labels, gamma, 0.3, weight, "mean")
    torch.testing.assert_close(loss, expected.sum() / len(labels))
    loss.backward()
    (expected.sum() / len(labels)).backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_sigmoid_gradient_takes_a_factor_for_each_item_and_class():
    x, y = logits(), logits()
    factors = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view_as(x)
    (sigmoid_focal_loss(x, SIGMOID_LABELS, 2.0, 0.25, None, "none") * factors).sum().backward()
    (sigmoid_reference(y, SIGMOID_LABELS, 2.0, 0.25) * factors).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("name", CASES)
def test_gradient_passes_gradcheck(name):
    loss_of, _, labels = CASES[name]
    assert torch.autograd.gradcheck(
        lambda x: loss_of(x, labels, 1.5, 0.25, None, "sum"), (logits(),)
    )


def test_sigmoid_loss_equals_mmdets_python_version():
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

    labels = torch.tensor([0, 3, 1, CLASSES, CLASSES, 2])
    x, y = logits(dtype=torch.float32), logits(dtype=torch.float32)
    one_hot = F.one_hot(labels, CLASSES + 1)[:, :CLASSES]
    expected = py_sigmoid_focal_loss(y, one_hot, reduction="none")
    torch.testing.assert_close(sigmoid_focal_loss(x, labels, 2.0, 0.25, None, "none"), expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_fp32_rounded_once(name, dtype):
    loss_of, reference, labels = CASES[name]
    half = logits(dtype=dtype)
    # mmcv takes the softmax before the operator, in the precision of the input.
    loose = {"rtol": 0.05, "atol": 0.02} if name == "softmax" else {}
    wide = half.detach().float().requires_grad_()
    loss = loss_of(half, labels, 2.0, 0.25, None, "none")
    expected = reference(wide, labels, 2.0, 0.25)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss, expected.to(dtype), **loose)
    loss_of(half, labels, 2.0, 0.25, None, "sum").backward()
    expected.sum().backward()
    torch.testing.assert_close(half.grad, wide.grad.to(dtype), **loose)


def test_saturated_logits_give_finite_losses_and_gradients():
    x = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(x, torch.tensor([0, 0]), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss, torch.tensor([[0.0, 0.0], [50.0, 150.0]]))
    loss.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 0.0], [-0.25, 0.75]]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_softmax_has_neither_loss_nor_gradient(gamma):
    x = torch.tensor([[500.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = softmax_focal_loss(x, torch.tensor([0]), gamma, 0.25, None, "sum")
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(x.grad, torch.zeros(1, 4))


@pytest.mark.parametrize("name", CASES)
def test_no_items_give_an_empty_loss_and_gradient(name):
    loss_of = CASES[name][0]
    x, labels = logits(items=0), torch.zeros(0, dtype=torch.long)
    loss = loss_of(x, labels, 2.0, 0.25, None, "none")
    assert loss.shape == ((0, CLASSES) if name == "sigmoid" else (0,))
    total = loss_of(x, labels, 2.0, 0.25, None, "sum")
    total.backward()
    assert total.item() == 0
    assert x.grad.shape == (0, CLASSES)


@pytest.mark.parametrize("name", CASES)
def test_autocast_changes_nothing_in_fp32(name):
    loss_of, _, labels = CASES[name]
    x = logits(dtype=torch.float32)
    expected = loss_of(x, labels, 2.0, 0.25, None, "none")
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(x, labels, 2.0, 0.25, None, "none")
    assert torch.equal(loss, expected)
