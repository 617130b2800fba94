import torch

from workbench.explainers.products import Product, Shelf

SIZE = (2, 3, 4, 5)


def test_a_shelf_hands_out_the_same_memory_after_rewinding():
    shelf, like = Shelf(reuse=True), torch.zeros(1)
    first, second = shelf.take(SIZE, like), shelf.take(SIZE, like)
    assert first.shape == SIZE
    assert first.data_ptr() != second.data_ptr()
    shelf.rewind()
    smaller = shelf.take((1, 3, 4, 5), like)
    assert smaller.data_ptr() == first.data_ptr()
    assert smaller.is_contiguous()
    larger = shelf.take((3, 3, 4, 5), like)
    assert larger.shape == (3, 3, 4, 5)
    assert len(shelf.buffers) == 2


def test_without_reuse_memory_is_fresh():
    assert Shelf(reuse=False).take(SIZE, torch.zeros(1)) is None


def test_a_product_takes_its_arguments_as_torch_does():
    query = torch.randn(1, 1, 4, 2)
    asked = Product(query, query, query, None, 0.0, True)
    expected = torch.nn.functional.scaled_dot_product_attention(query, query, query, None, 0.0, True)
    assert torch.equal(asked.by_torch(), expected)
    assert asked.by_hand
    assert not Product(query, query, query, dropout_p=0.1).by_hand
