"""Seeded faults: what the tests are held against. `python -m tests.mutations` plants each in turn.

To add one: a row below. `old` must occur exactly once in the file, and the fault must change a
result, an error or a promise; a change that nobody could observe belongs nowhere.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One change of one file under ``fastgrad/``, and why it would be wrong."""

    name: str
    file: str
    old: str
    new: str
    why: str


_KERNELS = [
    # -- the register tile
    Fault(
        "tile-adds", "kernels/product/microkernel.py",
        'adds = self.b_.icmp_unsigned("!=", self.mode, I64(0))',
        'adds = self.b_.icmp_unsigned("==", self.mode, I64(0))',
        "sums are added to what C happens to hold",
    ),
    Fault(
        "tile-add", "kernels/product/microkernel.py",
        "self.b_.fadd(old, x)", "self.b_.fsub(old, x)",
        "sign of what is accumulated",
    ),
    Fault(
        "tile-bias-vector", "kernels/product/microkernel.py",
        "self.b_.fadd(x, bias[v])", "self.b_.fadd(x, bias[0])",
        "the second vector of a tile gets the first one's bias",
    ),
    Fault(
        "opaque-shift", "kernels/toolchain/pointers.py",
        "memory_ir.element(builder, element, *args)", "builder.gep(args[0], [args[1]])",
        "an element's address whose distance comes from a typed pointer, which llvmlite gives up",
    ),
    Fault(
        "tile-mask", "kernels/toolchain/vector_ir.py",
        "ir.VectorType(I64, self.lanes), list(range(self.lanes))",
        "ir.VectorType(I64, self.lanes), list(range(1, self.lanes + 1))",
        "the tail mask drops the last column",
    ),
    Fault(
        "tile-ragged-store", "kernels/product/microkernel.py",
        "self.b_.and_(count, I64(width))", "self.b_.and_(count, I64(2 * width))",
        "the wrong half of a ragged vector is stored",
    ),
    Fault(
        "tile-rest-rows", "kernels/product/microkernel.py",
        "for rows in range(1, self.tile.mr):", "for rows in range(1, self.tile.mr - 1):",
        "MR - 1 rows at the edge are forgotten",
    ),
    Fault(
        "tile-k-rest", "kernels/product/microkernel.py",
        "self._steps(rows, a_rows, acc, done, self.k, 1, pack)",
        "self._steps(rows, a_rows, acc, done, self.b_.and_(self.k, I64(-4)), 1, pack)",
        "the last k % 4 products are dropped",
    ),
    Fault(
        "tile-packed-step", "kernels/product/microkernel.py",
        "self.at(a, self.a_step)",
        "self.at(a, self.b_.mul(self.a_row, I64(self.tile.mr)))",
        "packed groups of A are read at the unpacked distance",
    ),
    Fault(
        "tile-no-fma", "kernels/product/microkernel.py",
        "self.multiply_add(broadcast, b[v], values[cell])",
        "self.b_.fadd(self.b_.fmul(broadcast, b[v]), values[cell])",
        "products are rounded: within every bound, but other bits",
    ),
    Fault(
        "tile-width", "kernels/product/microkernel.py",
        "range(last - tile.lanes + 1, last)", "range(last - tile.lanes + 2, last)",
        "a panel one column wider than whole vectors is not computed",
    ),
    # -- thin products
    Fault(
        "thin-bias", "kernels/product/thin.py",
        "self.load_broadcast(self.bias, j)", "self.load_broadcast(self.bias, 0)",
        "all outputs get the first one's bias",
    ),
    Fault(
        "thin-rest", "kernels/product/thin.py",
        "[place, self.a_row, left, self.space]", "[rows, self.a_row, left, self.space]",
        "the inputs after whole squares are the first ones again",
    ),
    Fault(
        "thin-beyond", "kernels/product/thin.py",
        "self.load_lanes(mask, source, self.b_.mul(row, I64(i)))",
        "self.load(source, self.b_.mul(row, I64(i)))",
        "the last row is read beyond its end",
    ),
    Fault(
        "thin-square", "kernels/product/thin.py",
        "_steps(column, self.b_.add(start, I64(u)), sums)", "_steps(column, I64(u), sums)",
        "every square of inputs meets the first weights",
    ),
    Fault(
        "thin-columns", "kernels/product/thin.py",
        "(rows, self.a_col, I64(0), self.k)", "(rows, self.a_row, I64(0), self.k)",
        "swapped strides in the column layout",
    ),
    Fault(
        "thin-left-over", "kernels/product/gemm.py",
        "m - done, a + done * a_row * size, c + done * c_row * size",
        "m - done, a, c + done * c_row * size",
        "the rows after whole vectors get the first ones' outputs",
    ),
    Fault(
        "thin-unpacked", "kernels/product/gemm.py",
        "                pack_whole(k, n, b, b_row, 1, b_pack)\n                b, b_row, b_pack",
        "                b, b_row, b_pack",
        "weights are promised to be packed and are not",
    ),
    Fault(
        "transposed-add", "kernels/network/layer.py",
        "value = row[j] + value", "value = value",
        "only the last block of samples counts",
    ),
    Fault(
        "transposed-bias", "kernels/network/layer.py",
        "value = value + shifts[j]", "value = value + shifts[0]",
        "few outputs in columns all get the first one's bias",
    ),
    Fault(
        "transposed-pack", "kernels/network/layer.py",
        "if w_pack != 0 and not transposed:", "if w_pack != 0:",
        "weights that were not packed are read as if they were",
    ),
    Fault(
        "transposed-panels", "kernels/network/layer.py",
        "MOST_COLUMNS < k <= NR and", "MOST_COLUMNS < k and",
        "a w of several panels is read as one: only where tiles are narrower than with AVX-512",
    ),
    Fault(
        "transposed-part", "kernels/network/layer.py",
        "shift(out, (start + i) * c_row)", "shift(out, i * c_row)",
        "parts of a transposed gradient are written over each other",
    ),
    Fault(
        "one-bias", "kernels/network/layer.py", "outputs[j] + shifts[j]", "outputs[j] + shifts[0]",
        "a single sample gets the first output's bias",
    ),
    Fault(
        "one-strides", "kernels/network/dense.py", "k, 1, w, 1, k, grad_x", "k, 1, w, k, 1, grad_x",
        "grad_x of a single sample with w for w.T",
    ),
    Fault(
        "blocks-order", "kernels/product/split_k.py",
        "for part in parts[1:]:", "for part in parts[:0:-1]:",
        "blocks are added backwards: other bits",
    ),
    Fault(
        "blocks-add", "kernels/product/split_k.py",
        "writer.b_.fadd(writer.load_element(target), values[0])", "values[0]",
        "only the last four blocks count",
    ),
    Fault(
        "blocks-empty", "kernels/product/split_k.py",
        "for count in (m, columns)", "for count in (columns, columns)",
        "a gradient without elements is written to",
    ),
    Fault(
        "blocks-bias", "kernels/product/split_k.py",
        "builder.mul(p, b_row), 1.0)", "builder.mul(p, b_row), 2.0)", "grad_b is twice too large",
    ),
    # -- packing and blocking
    Fault(
        "gemm-bias-first", "kernels/product/gemm.py",
        "last = pc + p + count == k", "last = pc + p == 0",
        "the bias enters the sum early: within every bound, but other bits",
    ),
    Fault(
        "gemm-mode", "kernels/product/gemm.py",
        "mode if pc + p == 0 else ADD", "mode",
        "each block of products overwrites the one before",
    ),
    Fault(
        "gemm-row-edge", "kernels/product/gemm.py", "mc = least(MC, m - ic)", "mc = least(MC, m)",
        "the last block of rows runs past the end",
    ),
    Fault(
        "gemm-group", "kernels/product/gemm.py",
        "row, col, group = 1, AR, AR * kc", "row, col, group = 1, AR, MR * kc",
        "packed groups are AR wide, not MR",
    ),
    Fault(
        "gemm-pack-rest", "kernels/product/gemm.py",
        "                    if squares < MR:\n", "                    if lanes == MR:\n",
        "packing A leaves out the rows of a group beyond whole vectors",
    ),
    Fault(
        "gemm-pack-rows", "kernels/product/gemm.py",
        "for i in range(least(MR, m - i0)):", "for i in range(least(MR, m - i0) - 1):",
        "packing A leaves out the last row of a group",
    ),
    Fault(
        "gemm-pack-lines", "kernels/product/gemm.py",
        "shift(a, p * a_col + i), MR)", "shift(a, p * a_col), MR)",
        "every group of rows is packed with the first one's",
    ),
    Fault(
        "layer-packed-parts", "kernels/network/layer.py",
        "b + columns * b_col * size, c + columns * size", "b + columns * size, c + columns * size",
        "the second part of a packed operand begins elsewhere",
    ),
    Fault(
        "gemm-pack-tail", "kernels/product/gemm.py", "if j < n - whole:", "if j < n - whole - 1:",
        "packing B pads over its last column",
    ),
    Fault(
        "gemm-pack-stride", "kernels/product/gemm.py",
        "at, place = shift(source, p + j * b_col), ", "at, place = shift(source, p + j), ",
        "packing a transposed B forgets its stride",
    ),
    Fault(
        "gemm-k-offset", "kernels/product/gemm.py",
        "b_block = b + pc * b_row * size", "b_block = b + pc * size",
        "later k-blocks read the wrong rows of B",
    ),
    Fault(
        "gemm-column-edge", "kernels/product/gemm.py",
        "if bias != 0 and last else 0, least(NR, n - j),",
        "if bias != 0 and last else 0, NR,",
        "the last panel writes whole vectors past the row",
    ),
    Fault(
        "transpose-shuffle", "kernels/product/transpose.py",
        "block[i + distance] = builder.shuffle_vector(a, b, masks[1])",
        "block[i + distance] = builder.shuffle_vector(a, b, masks[0])",
        "half of a transposed block is a copy of the other",
    ),
    # -- the dense layer
    Fault(
        "layer-swapped-strides", "kernels/network/layer.py",
        "a, a_row, a_col, b, b_row, b_col = b, b_col, b_row, a, a_col, a_row",
        "a, a_row, a_col, b, b_row, b_col = b, b_row, b_col, a, a_col, a_row",
        "strides of one operand of a transposed product",
    ),
    Fault(
        "dense-batch-sum", "kernels/calls/dense_blocks.py",
        "1 if accumulate or i + j > 0 else 0", "1 if accumulate or i > 0 else 0",
        "only the last block of the batch counts",
    ),
    Fault(
        "layer-bias-sum", "kernels/network/layer.py",
        "gemm(1, k, m, one, 0, 0, dz,", "gemm(1, k, 1, one, 0, 0, dz,",
        "the bias gradient is not summed over the batch",
    ),
    Fault(
        "dense-bias-stride", "kernels/calls/dense_blocks.py",
        "copy(1, k, bias, 0, bias_step,", "copy(1, k, bias, 0, 1,",
        "the stride of a strided bias",
    ),
    Fault(
        "layer-lost-bias", "kernels/network/layer.py",
        "w_panel, w_pack,\n                    block, target_row, 0, bias, a_space,",
        "w_panel, w_pack,\n                    block, target_row, 0, 0, a_space,",
        "the bias is lost",
    ),
    Fault(
        "dense-direct", "kernels/calls/dense_blocks.py",
        "if not direct and w_col != 1:", "if not direct and w_col == 0:",
        "a transposed w is read as if its rows were contiguous",
    ),
    Fault(
        "gemm-products", "kernels/product/gemm.py",
        "for p in range(0, greatest(kc, 1), PRODUCTS):\n"
        "                        count = least(PRODUCTS, kc - p)",
        "for p in range(0, greatest(kc, 1), KC):\n"
        "                        count = least(KC, kc - p)",
        "one chain for all products of a k-block: within the rounding bound, but other bits",
    ),
    Fault(
        "gemm-following", "kernels/product/gemm.py",
        "at_j + p * at_row * size, at_row,", "at_j, at_row,",
        "every block of products reads the first rows of a panel",
    ),
    Fault(
        "gemm-row-bias", "kernels/product/gemm.py",
        "as_pointer(bias + start * size, dtype)", "as_pointer(bias, dtype)",
        "the bias of a single row's later columns",
    ),
    Fault(
        "gemm-row-packed", "kernels/product/gemm.py",
        "b_pack == 0 and b_panel == NR):", "b_pack == 0):",
        "packed panels are read as rows",
    ),
    Fault(
        "gemm-row-blocks", "kernels/product/gemm.py",
        "p += greatest(blocks, 1) * PRODUCTS", "p += PRODUCTS",
        "blocks of one row that were computed side by side are added again",
    ),
    Fault(
        "gemm-thin-rows-left", "kernels/product/gemm.py",
        "least(r, rows - 1) * a_row", "r * a_row",
        "a group of fewer rows reads beyond the last one",
    ),
    Fault(
        "gemv-first", "kernels/product/gemv.py",
        'first = builder.icmp_signed("==", p, I64(0))',
        'first = builder.icmp_signed("<=", p, I64(8))',
        "the steps after the first eight start from zero, too",
    ),
    Fault(
        "gemv-block", "kernels/product/gemv.py",
        "builder.mul(q, c_block)", "builder.mul(q, n)",
        "sums of blocks side by side overlap",
    ),
    Fault(
        "gemv-tail", "kernels/product/gemv.py",
        "some_columns(end, writer.b_.sub(n, end))", "some_columns(end, I64(writer.lanes))",
        "whole vectors past the end of a row",
    ),
    Fault(
        "dot-pairs", "kernels/product/dot.py",
        "[start + offset + lane for start in starts for lane in range(half)]",
        "[start + 2 * lane + (offset > 0) for start in starts for lane in range(half)]",
        "chains are added in pairs of neighbours first: other bits",
    ),
    Fault(
        "dot-tail", "kernels/product/dot.py",
        "full = builder.and_(end, I64(-CHAINS))", "full = end",
        "the last products are dropped or read past the row",
    ),
    Fault(
        "dot-nothing", "kernels/product/dot.py",
        "writer.b_.select(masks[i % len(vectors)], new, old)", "new",
        "chains without a product take part with 0 * 0: the sign of zero sums",
    ),
    Fault(
        "single-piece", "layers/dense_large.py",
        "0 if j.stop - j.start == k else PIECE", "0",
        "one output of a large layer, in a piece of its own, is summed as a single one",
    ),
    Fault(
        "single-bias", "kernels/product/single_output.py",
        "y[j * y_row] = y[j * y_row] + shifts[0]", "y[j * y_row] = y[j * y_row] + shifts[j]",
        "columns of a single output take what lies behind the bias",
    ),
    Fault(
        "single-weights", "kernels/calls/dense_blocks.py",
        "if single and w_row != 1:", "if single and w_row < 0:",
        "no room for the copy of scattered weights",
    ),
    Fault(
        "single-chain", "kernels/product/single_output.py",
        "(left - i + CHAINS - 1) // CHAINS", "(left + CHAINS - 1) // CHAINS",
        "columns of a single output read features past the end",
    ),
    Fault(
        "plan-fresh", "kernels/network/dense.py", "if packed == 0 or reads:", "if packed == 0:",
        "packed weights are read where nothing was packed",
    ),
    Fault(
        "plan-stale", "kernels/network/plan.py",
        "fresh = step != packed_for", "fresh = packed_for < 0",
        "the weights of the first batch serve all batches",
    ),
    Fault(
        "tile-pack-vector", "kernels/product/microkernel.py",
        "self.store(b[v], place,", "self.store(b[0], place,",
        "a packed row of B is its first vector twice",
    ),
    Fault(
        "tile-pack-row", "kernels/product/microkernel.py",
        "self.b_pack, I64(self.tile.nr), self.b_next,",
        "self.b_pack, self.b_row, self.b_next,", "packed rows are read at the unpacked distance",
    ),
    Fault(
        "gemm-pack-first", "kernels/product/gemm.py",
        "b, b_row, b_panel, b_pack = b_pack, NR, k * NR, 0",
        "b, b_row, b_panel, b_pack = b_pack, NR, n * NR, 0", "panels of large weights, misplaced",
    ),
    Fault(
        "gemm-pack-block", "kernels/product/gemm.py", "to += pc * NR * size", "to += 0",
        "k-blocks pack over each other",
    ),
    Fault(
        "gemm-pack-later", "kernels/product/gemm.py", "if m <= FEW:", "if m >= FEW:",
        "nothing is packed, but read as if it were",
    ),
    Fault(
        "layer-pack-panel", "kernels/network/layer.py",
        "w, w_row, w_panel, w_pack = w_pack, NR, d * NR, 0",
        "w, w_row, w_panel, w_pack = w_pack, NR, k * NR, 0",
        "later rows meet the wrong panels",
    ),
    Fault(
        "dense-chunk-samples", "kernels/calls/dense_blocks.py",
        "x + (i + j) * x_row * size", "x + i * x_row * size",
        "large weights: the first block's samples in every block's gradient",
    ),
    Fault(
        "dense-parts", "kernels/calls/dense_blocks.py",
        "activation if width == k else 0, a_space,", "activation, a_space,",
        "a softmax sees a part of a row, and then the whole of it",
    ),
    Fault(
        "dense-panel", "kernels/calls/dense_blocks.py",
        "panel, pack, b_col = pack, NR, d * NR, 0, 1",
        "panel, pack, b_col = pack, NR, k * NR, 0, 1",
        "distance of packed panels",
    ),
    Fault(
        "dense-stack", "kernels/calls/dense_blocks.py",
        "a_bytes = A_PACK if k >= PACK_A_COLUMNS or distant else 0",
        "a_bytes = 0", "blocks of A are packed over the packed weights",
    ),
    Fault(
        "dense-cache", "kernels/calls/dense.py", "tuple_set(cache, 3, z_object)",
        "tuple_set(cache, 3, y_object)", "the output is kept where its slope is wanted",
    ),
    Fault(
        "mark-weight", "kernels/calls/mark.py", "place = before + i + 1", "place = 1",
        "a y whose elements change places has the same mark",
    ),
    Fault(
        "mark-last", "kernels/calls/mark.py", "(count - CHUNK) // (CHUNKS - 1) * size",
        "(count - CHUNK) // CHUNKS * size", "the last elements of y are not marked",
    ),
    Fault(
        "mark-unseen", "kernels/calls/dense.py",
        "if float_value(known) != mark(saved, saved_row, n, k):",
        "if float_value(known) == -1.0:", "a y changed in place is taken",
    ),
    Fault(
        "mark-other-dtype", "layers/dense_calls.py",
        "if mark is not None and mark_of(cache.saved, layer) != mark:",
        "if False:",
        "a y changed in place is taken with a grad_y of another dtype",
    ),
    Fault(
        "mark-large", "layers/dense_calls.py",
        "saved, layer, kept, mark_of(saved, layer))",
        "saved, layer, kept)",
        "the y of a large layer is not marked",
    ),
    Fault(
        "dense-in-place", "kernels/calls/dense_blocks.py",
        "in_place = activation == 0 and g_col == 1 and gz == 0",
        "in_place = activation == 0 and gz == 0",
        "a transposed grad_y is read as if its rows were contiguous",
    ),
    Fault(
        "layer-grad-w", "kernels/network/layer.py",
        "d, k, m, x, x_col, x_row, dz, dz_row, 1, gw, gw_row, gw_col,",
        "d, k, m, x, x_row, x_col, dz, dz_row, 1, gw, gw_row, gw_col,",
        "x instead of its transpose in grad_w",
    ),
    Fault(
        "dense-grad-x", "kernels/calls/dense_blocks.py",
        "m, d, k, dz, dz_row, 1, w, w_col, w_row, out,",
        "m, d, k, dz, dz_row, 1, w, w_row, w_col, out,",
        "w instead of its transpose in a transposed grad_x",
    ),
    Fault(
        "dense-forward-check", "kernels/calls/dense.py",
        "if not (ok and w_ok and d == w_d and dimensions(w_object) == 2):",
        "if not (ok and w_ok and dimensions(w_object) == 2):",
        "a w of the wrong shape is taken",
    ),
    Fault(
        "dense-backward-check", "kernels/calls/dense.py",
        "and n == x_n and d == w_d and k == w_k", "and d == w_d and k == w_k",
        "a grad_y with the wrong number of samples is taken",
    ),
    Fault(
        "outputs-axis", "kernels/calls/pyobject.py",
        "shape[0 if columns else axes - 1] = k", "shape[axes - 1] = k",
        "the shape of outputs in columns",
    ),
    Fault(
        "header-check", "kernels/calls/entry.py", "    check()\n", "",
        "a NumPy that lays out its arrays otherwise is read at the old places",
    ),
    Fault(
        "header-gil", "kernels/toolchain/headers.py",
        'if not getattr(sys, "_is_gil_enabled", lambda: True)():', "if False:",
        "arrays are read while other threads change them",
    ),
    Fault(
        "batch-axes", "kernels/calls/pyobject.py",
        "for i in range(dimensions(a) - 1 if dimensions(a) > 2 else 0):", "for i in range(0):",
        "leading batch axes need only hold as many samples",
    ),
    Fault(
        "batch-pieces", "kernels/calls/pyobject.py",
        "    if columns or flags_of(array) & C_ORDER == 0:\n", "    if columns:\n",
        "leading batch axes of any strides are read as one piece",
    ),
    Fault(
        "batch-output", "kernels/calls/dense.py",
        "if dimensions(out) > 2 and flags_of(out) & C_ORDER == 0:", "if False:",
        "an output with leading batch axes in Fortran order is no output",
    ),
    Fault(
        "batch-part", "layers/dense_calls.py",
        "out.shape == like.shape and in_one_piece:", "out.shape == like.shape:",
        "an output with leading batch axes that is part of a wider array stays as it was",
    ),
    Fault(
        "dense-accumulate", "kernels/calls/dense.py",
        "gb, gz, gz_row, accumulate,", "gb, gz, gz_row, 0,",
        "accumulate overwrites",
    ),
    Fault(
        "batch-block", "kernels/toolchain/target.py", "BATCH_BLOCK = 256", "BATCH_BLOCK = 128",
        "blocks of the batch are part of the result's definition",
    ),
    Fault(
        "columns-strides", "kernels/calls/pyobject.py",
        "rows, cols, row, col = cols, rows, col, row",
        "rows, cols, row, col = cols, rows, row, col",
        "strides of the column layout",
    ),
    # -- activations
    Fault(
        "rows-tail-saved", "kernels/elementwise/rows.py",
        "padded(s_rest, saved, count)", "padded(s_rest, given, count)",
        "the slope of a row's rest is taken at grad_y",
    ),
    Fault(
        "rows-tail-dropped", "kernels/elementwise/rows.py",
        "copy_elements(shift(out, j), values, count)",
        "copy_elements(shift(out, j), values, count & -STRIP)",
        "a backward pass leaves out the rest of a row",
    ),
    Fault(
        "rows-slope-argument", "kernels/elementwise/rows.py",
        "given[i] * first(saved[i])", "given[i] * first(given[i])",
        "the slope is taken at grad_y",
    ),
    Fault(
        "rows-strided-saved", "kernels/elementwise/rows.py",
        "if g_row == n and s_row == n and out_row == n:", "if g_row == n and out_row == n:",
        "rows of a wider saved output are read as if adjacent",
    ),
    Fault(
        "softmax-no-max", "kernels/elementwise/softmax.py",
        "top = row_max(z, n)\n            for j in range(0, n, CHUNK):",
        "top = z[0]\n            for j in range(0, n, CHUNK):",
        "a wide softmax overflows",
    ),
    Fault(
        "softmax-sum", "kernels/elementwise/softmax.py",
        "row_sum(shift(before, row * n), n)", "row_sum(shift(before, row * n), n - 1)",
        "a narrow softmax is not normalised",
    ),
    Fault(
        "softmax-columns-max", "kernels/elementwise/softmax.py",
        "for j in range(1, n):\n                column",
        "for j in range(1, n - 1):\n                column",
        "a narrow softmax overflows where the last logit is the greatest",
    ),
    Fault(
        "softmax-columns-sum", "kernels/elementwise/softmax.py",
        "if j + half < n:", "if j + half < n - 1:",
        "the last term is missing from the sum",
    ),
    Fault(
        "softmax-sign", "kernels/elementwise/softmax.py",
        "y[j] * (g[j] - dot)", "y[j] * (g[j] + dot)",
        "sign in the softmax gradient",
    ),
    Fault(
        "softmax-correction", "kernels/elementwise/softmax.py",
        "return d, (a - (d - back)) - (b + back)", "return d, d - d",
        "the rounding of z - max is forgotten: some ULP",
    ),
    Fault(
        "softmax-large-correction", "kernels/elementwise/vector_math.py",
        "select(vanishes, exp_low, x), select(vanishes, zero, low)",
        "select(vanishes, exp_low, x), select(vanishes, select(low == low, low, zero), low)",
        "the rounding of a huge z - max counts: NaN",
    ),
    Fault(
        "loss-weight-scale", "kernels/elementwise/loss.py",
        "log(weight[r] * last)", "log(weight[r])",
        "cross-entropy is off by log of the exponentials' scale",
    ),
    Fault(
        "rows-padded-late", "kernels/elementwise/rows.py",
        "        copy_elements(buffer, source, count)\n\n    return padded",
        "        copy_elements(buffer, source, count & -STRIP)\n\n    return padded",
        "the last elements of a row are not copied",
    ),
    Fault(
        "sigmoid-slope", "kernels/elementwise/formulas.py",
        "scalar(lambda y: y * (one - y))", "scalar(lambda y: y)", "y (1 - y) -> y",
    ),
    Fault(
        "tanh-slope", "kernels/elementwise/formulas.py",
        "scalar(lambda y: fma(-y, y, one))", "scalar(lambda y: fma(y, y, one))",
        "1 - y**2 -> 1 + y**2",
    ),
    Fault(
        "tanh-derivative", "kernels/elementwise/formulas.py",
        "e = exp(-two * fabs(z))", "e = exp(-fabs(z))", "a lost factor of two",
    ),
    Fault(
        "relu-kink", "kernels/elementwise/formulas.py",
        "scalar(lambda z: one if z > zero else (zero if z <= zero else z))",
        "scalar(lambda z: one if z >= zero else (zero if z <= zero else z))",
        "relu'(0) is 0",
    ),
    Fault(
        "relu-nan", "kernels/elementwise/formulas.py",
        "scalar(lambda z: zero if z < zero else z),", "scalar(lambda z: z if z > zero else zero),",
        "relu(NaN) is NaN",
    ),
    Fault(
        "leaky-slope", "kernels/elementwise/formulas.py",
        "real(2), real(0.01)", "real(2), real(0.02)",
        "another slope",
    ),
    Fault(
        "elu-slope", "kernels/elementwise/formulas.py",
        "one if y >= zero else y + one", "one if y >= zero else y", "y + 1 -> y",
    ),
    Fault(
        "softsign-slope", "kernels/elementwise/formulas.py",
        "scalar(lambda y: (one - fabs(y)) * (one - fabs(y)))", "scalar(lambda y: one - fabs(y))",
        "a lost square",
    ),
    Fault(
        "softplus-slope", "kernels/elementwise/formulas.py",
        "scalar(lambda y: -expm1(-y))", "scalar(lambda y: expm1(y))", "a lost sign",
    ),
    # -- elementary functions
    Fault(
        "exp-reduction", "kernels/elementwise/vector_math.py",
        "return fma(n, -log2_low, fma(n, -log2, x)) + low", "return fma(n, -log2, x) + low",
        "log(2) in one word: some ULP",
    ),
    Fault(
        "exp-subnormal", "kernels/elementwise/vector_math.py",
        "(real(-120), real(89)) if single", "(real(-87), real(89)) if single",
        "no subnormal results in float32",
    ),
    Fault(
        "tanh-sign", "kernels/elementwise/vector_math.py",
        "return copysign(c + fma(h, q, -s * y), x)", "return c + fma(h, q, -s * y)",
        "tanh is odd",
    ),
    Fault(
        "sigmoid-flipped", "kernels/elementwise/vector_math.py",
        "v = select(x < zero, e, one)\n        return fma",
        "v = select(x > zero, e, one)\n        return fma",
        "a sigmoid with its sign flipped, unseen at 0",
    ),
    Fault(
        "log-subnormal", "kernels/elementwise/vector_math.py",
        "bits(select(subnormal, x * implicit, x))", "bits(x)", "log of subnormal numbers",
    ),
    Fault(
        "gelu-signed-zero", "kernels/elementwise/vector_math.py",
        "return fma(-fma(m, y, m) * s, last, select(z < zero, none, z))",
        "return fma(-fma(m, y, m) * s, last, select(z < zero, zero, z))",
        "gelu(-inf) is -0.0",
    ),
    Fault(
        "gelu-tanh-words", "kernels/elementwise/vector_math.py",
        "return y, fma(a, k, -y) + a * k_low, k", "return y, zero, k",
        "the exponent in one word: many ULP in the tail",
    ),
    Fault(
        "silu-derivative", "kernels/elementwise/vector_math.py",
        "at_most(fabs(x), silu_high), one, e)", "at_most(fabs(x), silu_high), two, e)",
        "a wrong factor",
    ),
    Fault(
        "log-cosh-near", "kernels/elementwise/loss.py",
        "small = a < near", "small = a < zero",
        "the form for large differences: a small one's cosh(d) - 1 is lost in log(2)",
    ),
    Fault(
        "log-cosh-far", "kernels/elementwise/loss.py",
        "a - log_2 + log", "a + log", "a constant too much",
    ),
    Fault(
        "mish-derivative", "kernels/elementwise/vector_math.py",
        "slope = select(x < zero, two + two, two * p)", "slope = select(x < zero, two + two, p)",
        "a wrong factor where z > 0",
    ),
    Fault(
        "mish-tail", "kernels/elementwise/vector_math.py",
        "q = select(x < zero, fma(-small, q, one), q)", "q = select(x < zero, one, q)",
        "exp(z) for the tanh: right in the far tail only",
    ),
    Fault(
        "exp-coefficient", "kernels/elementwise/coefficients.py",
        "2.7557234734257866e-06,", "2.7557e-06,", "a mistyped coefficient: some ULP",
    ),
    Fault(
        "normal-coefficient", "kernels/elementwise/coefficients.py",
        "-1.958513617515564,", "-1.9585,", "a mistyped coefficient: some ULP",
    ),
    # -- losses and reductions
    Fault(
        "mse-slope", "kernels/elementwise/loss.py",
        '"mse": Terms(square, inlined(lambda p, t: two * (p - t)))',
        '"mse": Terms(square, inlined(lambda p, t: p - t))',
        "a lost factor of two",
    ),
    Fault(
        "huber-sign", "kernels/elementwise/loss.py",
        "return copysign(one, d) if fabs(d) > one else d",
        "return one if fabs(d) > one else d",
        "the sign of large differences",
    ),
    Fault(
        "bce-slope", "kernels/elementwise/loss.py",
        "inlined(lambda z, t: sigmoid(z) - t)", "inlined(lambda z, t: sigmoid(z) + t)",
        "the sign of the target",
    ),
    Fault(
        "bce-certain", "kernels/elementwise/loss.py",
        "line = wide(0) if t == likely else line", "line = wide(0) if t != t else line",
        "inf - inf where an infinite logit is right",
    ),
    Fault(
        "bce-infinite", "kernels/elementwise/loss.py",
        "wide(z) if z == infinity else line", "wide(z) if z != z else line",
        "inf - inf where a logit of inf is wrong",
    ),
    Fault(
        "probabilities-above", "kernels/elementwise/loss.py",
        "t[i] | (most_bits - t[i])", "t[i]", "targets above 1 are taken",
    ),
    Fault(
        "probabilities-strided", "kernels/elementwise/loss.py",
        "t[j * col] < least or t[j * col] > most", "t[j] < least or t[j] > most",
        "other elements are looked at than are used",
    ),
    Fault(
        "probabilities-columns", "kernels/elementwise/loss.py",
        "row, col, m, n = col, row, n, m", "row, col = col, row",
        "other elements are looked at than are used, where samples are in columns",
    ),
    Fault(
        "probabilities-checked", "calls.py",
        "            loss.check_target(loss.name + self.method, target)\n",
        "            pass\n",
        "a target that the kernel does not take ends in an exception of Python's",
    ),
    Fault(
        "rounded-result", "layers/dense_calls.py",
        "g.astype(dtypes.result, copy=False) for g in made", "g for g in made",
        "gradients of a float16 layer are float32",
    ),
    Fault(
        "probabilities-network", "kernels/calls/network.py",
        "if word(plan, at.PROBABILITIES) and", "if 0 and",
        "later calls of a network take targets outside of 0 to 1",
    ),
    Fault(
        "probabilities-fit", "networks/shared/samples.py",
        "    if network.loss.probabilities:\n", "    if False:\n",
        "training takes targets outside of 0 to 1",
    ),
    Fault(
        "softmax-twice", "networks/shared/settings.py",
        "own is not None and last in _PROBABILITIES", "own is not None and last == own == 1",
        "a softmax that the loss applies again is taken without a word",
    ),
    Fault(
        "loss-chunks", "kernels/elementwise/loss.py",
        "copy_elements(place, slopes, count)\n                total[0] += ",
        "copy_elements(place, slopes, count)\n                total[0] = ",
        "only the last chunk of terms counts",
    ),
    Fault(
        "cross-entropy-scale", "kernels/elementwise/loss.py",
        "out[label] = out[label] - dtype(scale)", "out[label] = out[label] - dtype(1)",
        "the gradient's scale at the label",
    ),
    Fault(
        "cross-entropy-chunks", "kernels/elementwise/loss.py",
        "total += row_sum(part, count)", "total = row_sum(part, count)",
        "only the last chunk of a wide row counts",
    ),
    Fault(
        "cross-entropy-weights", "kernels/elementwise/loss.py",
        "dtype(ratio[r] * row_sum(t, n))", "dtype(ratio[r])",
        "targets that do not add up to one",
    ),
    Fault(
        "max-fill", "kernels/elementwise/reductions.py",
        "fill = start if combine is step else 0.0", "fill = 0.0",
        "the maximum of negative numbers is not 0",
    ),
    Fault(
        "sum-lanes", "kernels/elementwise/reductions.py", "LANES = 16\n", "LANES = 8\n",
        "another order of summation: within every bound, but other bits",
    ),
    Fault(
        "sum-mask", "kernels/elementwise/reductions.py",
        "terms.first_lanes(rest)", "terms.first_lanes(builder.add(rest, I64(1)))",
        "the tail mask lets in one element too many",
    ),
    Fault(
        "loss-rowwise-mean", "kernels/elementwise/loss.py",
        "return m if reduction == SAMPLES or per_sample else m * n",
        "return m if reduction == SAMPLES else m * n",
        "softmax cross-entropy has one term per sample",
    ),
    Fault(
        "loss-scale", "kernels/calls/apply_loss.py", "cells[0] = 1.0 / by", "cells[0] = 1.0",
        "the gradient of a mean is not that of the sum",
    ),
    Fault(
        "apply-orders", "kernels/calls/apply.py",
        "one_piece(flags_of(g) & flags_of(s), flags)",
        "one_piece(flags_of(g) | flags_of(s), flags)",
        "C order and Fortran order combined element by element",
    ),
    Fault(
        "loss-shape-check", "kernels/calls/apply_loss.py",
        "if not native(target, words) or not same_shape(pred, target):",
        "if not native(target, words):",
        "a target of another shape is taken",
    ),
    Fault(
        "classes-range", "kernels/calls/pyobject.py",
        "if label < 0 or label >= classes:", "if label < 0:",
        "a class there is not is read beyond the row",
    ),
    Fault(
        "loss-class-shape", "kernels/calls/apply_loss.py",
        "if flags & PER_SAMPLE and one_per_row(target, pred, columns):", "if flags & PER_SAMPLE:",
        "a target is taken for classes whatever its shape",
    ),
    Fault(
        "classes-count", "kernels/calls/pyobject.py", "    if held != count:\n", "    if False:\n",
        "more or fewer classes than samples",
    ),
    Fault(
        "gathered-chunks", "kernels/calls/apply_loss.py",
        "multiple = CHUNK  #", "multiple = 1  #",
        "gathered rows are summed in other chunks than rows in one piece",
    ),
    Fault(
        "loss-strides", "kernels/calls/apply_loss.py",
        "and (m == 1 or (p_row == n and t_row == n)):", "and True:",
        "rows that do not follow each other are read as if they did",
    ),
    Fault(
        "gather-last", "kernels/product/gather.py",
        "r = least(start, m - lanes)", "r = start",
        "squares of samples that do not exist",
    ),
    Fault(
        "gather-clamp", "kernels/product/gather.py",
        "transpose_some(at, col, least(lanes, n - j), place, n)",
        "transpose_some(at, col, lanes, place, n)",
        "features beyond the last are read",
    ),
    Fault(
        "gather-room", "kernels/product/gather.py",
        "return (rows * n + lanes) * size", "return rows * n * size",
        "the last row's whole vector is written beyond the buffer",
    ),
    Fault(
        "apply-columns", "calls.py",
        "ALONG |= {(int, 0, 2): COLUMNS, (int, -2, 2): COLUMNS}",
        "ALONG |= {(int, 0, n): COLUMNS for n in range(2, MOST_AXES + 1)}",
        "softmax along an axis between others",
    ),
    Fault(
        "apply-overlap", "activations.py",
        "if out is not None and np.may_share_memory(out, z):", "if False:",
        "out= may be the z of softmax.backward",
    ),
    Fault(
        "derivative-rest", "kernels/calls/apply.py",
        "        if rest:\n", "        if False:\n",
        "the last elements of a derivative are not written",
    ),
    # -- the cache of compiled code
    Fault(
        "cache-sources", "kernels/toolchain/object_cache.py",
        'digest.update(f"{name}\\0{len(content)}\\0".encode() + content)',
        'digest.update(f"{name}\\0".encode())',
        "a stale cache key: changed kernels are not compiled again",
    ),
    Fault(
        "cache-cpu", "kernels/toolchain/object_cache.py",
        "        target.cpu,\n        target.features,\n", "        target.features,\n",
        "a stale cache key: another processor's code is loaded",
    ),
    Fault(
        "cache-seal", "kernels/toolchain/object_cache.py",
        "if content[:_SEAL] != _seal(path, content[_SEAL:]):", "if False:",
        "damaged code is loaded",
    ),
    Fault(
        "cache-owner", "kernels/toolchain/cache_place.py",
        "if about.st_uid not in (0, os.geteuid()):", "if False:",
        "another user's machine code is run",
    ),
    Fault(
        "cache-mode", "kernels/toolchain/cache_place.py",
        "if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):", "if False:",
        "machine code that anybody can write is run",
    ),
    Fault(
        "cache-absolute", "kernels/toolchain/cache_place.py",
        "return path if path.is_absolute() else None", "return path",
        "machine code from the working directory is run",
    ),
    Fault(
        "cache-pipe", "kernels/toolchain/cache_place.py",
        'os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY', "os.O_RDONLY | _BINARY",
        "a pipe in place of a file holds up the process for ever",
    ),
    Fault(
        "cache-readable", "kernels/toolchain/object_cache.py",
        "        os.chmod(temporary, 0o644)", "        pass",
        "what root compiled no other user can load",
    ),
    Fault(
        "cache-symbol", "kernels/toolchain/library.py", "next(self._names)", "len(self._loaded)",
        "after code without its function nothing can be loaded: LLVM knows the name already",
    ),
    Fault(
        "fallback", "kernels/toolchain/fallback.py", "    _this_thread.alone = True\n", "",
        "a kernel that another Numba refuses is refused again",
    ),
]  # fmt: skip

_WRAPPERS = [
    Fault(
        "layer-key", "layers/compiled_layer.py",
        "LAYERS[samples].setdefault(", 'LAYERS["rows"].setdefault(',
        "a stale cache key: columns remembered as rows",
    ),
    Fault(
        "redefined-activation", "layers/compiled_layer.py",
        "        by_activation.pop(name, None)\n", "",
        "a stale cache key: the old activation lives on under the new one's name",
    ),
    Fault(
        "redefined-object", "layers/compiled_layer.py",
        "by_activation.pop(previous, None)", "pass",
        "a leak: layers of every activation that was ever defined are kept",
    ),
    Fault(
        "softmax-axis", "activations.py",
        "flags = self._flags if axis is LAST_AXIS else self._axes[type(axis), axis, z.ndim]  #",
        "flags = self._flags  #",
        "axis= is ignored",
    ),
    Fault(
        "need-bits", "layers/dense.py",
        "key: sum(WANT[name] for name in names)", "key: sum(WANT[name] for name in names[:2])",
        "the third gradient wanted is not computed",
    ),
    Fault(
        "bias-check", "layers/dense_arguments.py",
        "b.shape not in ((k,), full)", "b.size != k", "a bias of the other layout is taken",
    ),
    Fault(
        "grad-check", "layers/dense_calls.py",
        'check_same_shape(function, "grad_y", grad.shape, "y", saved.shape)',
        'check_same_shape(function, "grad_y", (grad.size,), "y", (saved.size,))',
        "a transposed grad_y is taken",
    ),
    Fault(
        "accumulate-x", "layers/dense_calls.py",
        "                    result = result + taken[name]\n",
        "                    result = +result\n",
        "grad_x is not accumulated",
    ),
    Fault(
        "accumulate-stand-in", "layers/dense_calls.py",
        "stand_in[...] = out.reshape(like.shape)", "stand_in[...] = 0",
        "accumulating into a strided array forgets what it held",
    ),
    Fault(
        "saved-z", "layers/dense_calls.py",
        "keeps, into = layer.keeps and self.keep, None",
        "keeps, into = False, None",
        "gelu's slope is taken at y instead of z",
    ),
    Fault(
        "cache-overlap", "layers/dense_calls.py",
        '        inputs["the cache"] = cache.saved\n',
        "",
        "gradients may overwrite what they are made of",
    ),
    Fault(
        "call-half", "calls.py",
        "return made if dtypes.result is FLOAT32 else self.round(made, dtypes)", "return made",
        "results of float16 come back in float32",
    ),
    Fault(
        "call-lists", "calls.py",
        "            return self.checked(arrays, outs, how)\n        return self.finish(arrays, g",
        "            return None\n        return self.finish(arrays, g",
        "what is not converted by compiled code is not computed at all",
    ),
    Fault(
        "call-shared", "calls.py", "            if made is not None and made is not True:\n",
        "            if made is not None:\n", "a large layer of integers returns True",
    ),
    Fault(
        "call-half-out", "calls.py",
        "if out is not None:  # it may share", "if False:  # it may share",
        "out= may share memory with arrays of float16",
    ),
    Fault(
        "call-narrow", "calls.py",
        "type(given) is list or given.dtype is not FLOAT32:", "True:",
        "the gradient of a float32 pred beside a float64 target is float64",
    ),
    Fault(
        "half-gradients", "layers/dense.py",
        'if dtypes is None or grad_y.dtype.kind == "f":', "if True:",
        "gradients of float16 layers come back in float32, beside a grad_y of int8",
    ),
    Fault(
        "half-results", "layers/dense_calls.py",
        "kept = None if dtypes.work is dtypes.result else dtypes", "kept = None",
        "the same, of the first call and of callables",
    ),
    Fault(
        "converted-promotion", "kernels/calls/convert.py",
        "wide |= kind > FLOAT32_KIND", "wide |= kind > FLOAT64_KIND",
        "float64 beside float32 is computed in float32",
    ),
    Fault(
        "converted-truth", "kernels/calls/convert.py", 'if kind == "b":', 'if kind == "?":',
        "bools whose bytes are not 0 or 1 are other numbers",
    ),
    Fault(
        "converted-overlap", "kernels/calls/convert.py",
        "if not apart(tuple_item(outputs, j), array, kind, words):", "if False:",
        "results overwrite what was converted",
    ),
    Fault(
        "converted-strides", "kernels/calls/convert.py",
        "data(array) + i * row, step, to, n)", "data(array) + i * row, SIZES[kind], to, n)",
        "arrays in pieces are read as if in one",
    ),
    Fault(
        "accumulate-new", "kernels/calls/dense.py", "if cleared:", "if cleared and False:",
        "a new grad_w is added to what memory held",
    ),
    Fault(
        "large-saved", "kernels/calls/dense.py",
        "if large or not linear:", "if not linear:",
        "a large layer's cache is not looked at",
    ),
    Fault(
        "large-checked", "calls.py",
        "        if outcome is True:\n",
        "        if False:\n",
        "a large layer's forward pass returns True",
    ),
    Fault(
        "large-softmax-out", "layers/dense_large.py", "            out[...] = y\n", "",
        "out= of a large softmax is left as it was",
    ),
    Fault(
        "large-outputs", "layers/dense_calls.py",
        'into = dict(zip("xwbz", outs or _NEW, strict=True))',
        'into = dict.fromkeys("xwbz")',
        "out= of large layers is ignored",
    ),
    Fault(
        "shared-features", "layers/dense_large.py",
        "slice(0, d), count, CUT_ROWS", "slice(0, n), count, CUT_ROWS",
        "threads share samples where they should share features",
    ),
    Fault(
        "shared-accumulate", "layers/dense_large.py", 'i, j, WANT["w"] | self.added(i)',
        'i, j, WANT["w"]', "grad_w of large layers is not accumulated",
    ),
    Fault(
        "shared-bias", "layers/dense_large.py", 'slice(None), WANT["b"] | self.added(i), outputs,',
        'slice(None), WANT["b"], outputs,', "grad_b of large layers is that of the last samples",
    ),
    Fault(
        "shared-columns", "layers/dense_large.py",
        "_part(self.bias, outputs), None, self.plain, flags",
        "self.bias, None, self.plain, flags", "threads that share grad_b get all of the bias",
    ),
    Fault(
        "callable-slope", "layers/compiled_layer.py",
        "(rise / (above - below))", "(rise / step)", "a central difference twice too large",
    ),
    Fault(
        "thread-cut", "threads.py",
        "slice(i, min(i + step, whole.stop))", "slice(i, min(i + step, whole.stop - 1))",
        "the last sample or feature belongs to no thread",
    ),
    Fault(
        "integer-dtype", "arrays.py",
        "np.result_type(*dtypes) if floating else FLOAT64",
        "np.result_type(*dtypes) if floating else FLOAT32",
        "ints become float32",
    ),
    Fault(
        "integers-promote", "arrays.py",
        "common = np.result_type(*dtypes) if floating",
        'common = np.result_type(*[d if d.kind == "f" else FLOAT64 for d in dtypes]) if floating',
        "bytes beside float32 become float64",
    ),
    Fault(
        "nn-integers", "nn/layer.py",
        'others = () if array.dtype.kind == "f" else beside', "others = ()",
        "a layer of float32 takes bytes as float64",
    ),
    Fault(
        "masked-check", "arrays.py",
        "    if masked:", "    if False:",
        "a missing error check: masks are dropped in silence",
    ),
    Fault(
        "overlap-itself", "results.py",
        "if out.size and _overlaps_itself(out):", "if False:",
        "a missing error check: out may overlap itself",
    ),
    Fault(
        "read-only-check", "results.py",
        "if not out.flags.writeable:", "if False:", "a missing error check: read-only out",
    ),
    Fault(
        "overlap-check", "results.py",
        "np.shares_memory(out, array)", "out is array", "out may overlap an input partly",
    ),
    Fault(
        "longdouble-check", "arrays.py",
        '"?bhilqBHILQefd"', '"?bhilqBHILQefdg"', "longdouble loses its digits in silence",
    ),
    Fault(
        "aligned-copy", "arrays.py",
        'return array if array.flags.aligned else array.copy(order="K")', "return array",
        "elements that are not aligned reach the kernels",
    ),
    Fault(
        "unreadable-array", "arrays.py",
        "    except Exception as error:", "    except ZeroDivisionError as error:",
        "a tensor's own error leaves without function and argument",
    ),
    Fault(
        "one-class", "loss_arguments.py",
        "return target.reshape(()) if single else target", "return target",
        "the class of one sample as a list of one",
    ),
    Fault(
        "loss-broadcast", "arguments.py",
        "if shape != expected:", "if math.prod(shape) != math.prod(expected):",
        "a missing error check: (n, 1) against (n,)",
    ),
    Fault(
        "loss-reduction", "losses/loss.py",
        "run(pred, target, out, address, CODES[reduction], flags)",
        'run(pred, target, out, address, CODES["mean"], flags)',
        "the wrong reduction on the direct path",
    ),
    Fault(
        "label-range", "loss_arguments.py",
        "target.max() >= classes", "target.max() > classes",
        "a class one too large is no ValueError",
    ),
    Fault(
        "nn-reduction", "nn/mse.py",
        "losses.mse.value_and_grad(pred, self.labels, self.reduction, self.samples)[1]",
        'losses.mse.value_and_grad(pred, self.labels, "mean", self.samples)[1]',
        "the gradient of another reduction",
    ),
    Fault(
        "nn-order", "nn/sequential.py",
        "for layer in reversed(self.layers):", "for layer in self.layers:",
        "layers backwards in forward order",
    ),
    Fault(
        "nn-jacobian", "nn/jacobians.py",
        'full.transpose(1, 0, 3, 2) if samples == "columns" else full)', "full)",
        "axes of the Jacobian in the column layout",
    ),
    Fault(
        "check-nan", "gradcheck/grad_report.py",
        "wrong = ~_right(analytic, numerical, limit)", "wrong = difference > limit",
        "a NaN gradient is called right",
    ),
    Fault(
        "check-cannot-tell", "gradcheck/grad_report.py",
        "doubtful = limit > TOLD * scale", "doubtful = np.zeros_like(limit, bool)",
        "a check that cannot tell says ok",
    ),
    Fault(
        "check-kink", "gradcheck/slopes.py", "return kink, True", "return best, False",
        "a kink at x is called a wrong gradient",
    ),
    Fault(
        "slope-widened",
        "gradcheck/slopes.py",
        "return _widened(best, tried), False",
        "return best, False",
        "kinks that cancel make a right float32 gradient wrong",
    ),
    Fault(
        "relation-swapped",
        "gradcheck/relations.py",
        "if s.fits(theirs):",
        "if True:",
        "a gradient stored twice is called swapped",
    ),
    Fault(
        "relation-one-number",
        "gradcheck/relations.py",
        "if written is None and s.measured.telling(s.given) < 2:",
        "if False:",
        "whatever one number is, it is a factor",
    ),
    Fault(
        "sizes-samples",
        "diagnosis/outside.py",
        "0 if len(first) == 1 else",
        "1 if first else",
        "another axis is the number of samples",
    ),
    Fault(
        "diagnose-way-back",
        "diagnosis/outside.py",
        "(-(numbers[i] or 0), i)",
        "(numbers[i] or 0, i)",
        "the first layer is the place where the mistake enters",
    ),
    Fault(
        "diagnose-digits",
        "diagnosis/outside.py",
        "FLOAT32_DIGITS = 16 *",
        "FLOAT32_DIGITS = 1600 *",
        "a small mistake is called rounding",
    ),
    Fault(
        "diagnose-added-up",
        "diagnosis/outside.py",
        "if any(found.array == suspect.name for",
        "if any(found.array is None for",
        "a gradient that is not set to zero is called ok",
    ),
    Fault(
        "diagnose-careful",
        "gradcheck/tree_loss.py",
        "self.careful = bool(changed)",
        "self.careful = False",
        "a loss that writes to its arguments spoils those of the next call",
    ),
    Fault(
        "diagnose-buffers",
        "diagnosis/calls.py",
        "[np.array(array) for array in arrays]",
        "arrays",
        "the second call of grads writes over the result of the first",
    ),
    Fault(
        "diagnose-search",
        "diagnosis/look.py",
        "half if off else np.setdiff1d(part, half)",
        "half",
        "the one wrong entry is looked for in the right half",
    ),
    Fault(
        "diagnose-vague",
        "diagnosis/look.py",
        "vague = bool(np.any(entries > limit))",
        "vague = bool(np.any(entries > 1e9 * limit))",
        "what cannot be told is ok",
    ),
    Fault(
        "tree-loss-named",
        "gradcheck/tree_loss.py",
        'type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)',
        "tuple(parts)",
        "a loss of named tuples gets tuples",
    ),
    Fault(
        "check-tree-scale", "gradcheck/grad_report.py", "max(r.max_abs for r in reports)",
        "min(r.max_abs for r in reports)",
        "the largest difference of a tree is that of another array",
    ),
    Fault(
        "check-sample", "gradcheck/grad_report.py",
        "~_right(analytic, numerical, limit) & seen", "~_right(analytic, numerical, limit)",
        "entries that were not drawn are called wrong",
    ),
    Fault(
        "check-directions", "gradcheck/tree_loss.py", "a + np.tensordot(t, r, 1)",
        "a + np.tensordot(t[::-1], r, 1)", "directions come in another order",
    ),
    Fault(
        "cli-check-status", "command/cli.py", "int(not report) if all(through)",
        "int(report.state == 'no') if all(through)", "a wrong gradient exits with 0",
    ),
    Fault(
        "cli-check-path", "command/check.py", "sys.path.insert(0, str(path.resolve().parent))",
        "pass", "a script cannot import its neighbours",
    ),
    Fault(
        "check-noise", "gradcheck/noise.py", "(noise, _along(", "(least, _along(",
        "the rounding of a float32 network is taken for that of its Python float",
    ),
    Fault(
        "check-ignored", "gradcheck/noise.py",
        "np.array_equal(f(probe), y)", "np.array_equal(probe, y)",
        "a function that ignores its argument has the gradient zero",
    ),
    Fault(
        "frozen-global", "kernels/toolchain/frozen.py",
        "function.__code__, space, function", "function.__code__, function.__globals__, function",
        "a global has the value of the first use of a dtype",
    ),
    Fault(
        "frozen-array", "kernels/toolchain/frozen.py", "return value.copy()", "return value",
        "an array has the values of the first use of a dtype",
    ),
    Fault(
        "table-bounds", "kernels/toolchain/compile.py",
        '**_PLAIN, "boundscheck": True}', '**_PLAIN, "boundscheck": False}',
        "a look-up table is read out of bounds",
    ),
    Fault(
        "derivative-of-y", "kernels/elementwise/derivative_check.py",
        "return None\n    worst", "pass\n    worst",
        "right derivatives are warned of",
    ),
    Fault(
        "difference-step", "gradcheck/differences.py",
        "result[column] = (y_above - y_below) / (above - below)",
        "result[column] = (y_above - y_below) / h",
        "a central difference twice too large",
    ),
]  # fmt: skip

_OPENED = [
    Fault(
        "tape-slope",
        "kernels/network/tape.py",
        "saved = place(job, i, kept.KEPT, first, k)",
        "saved = 0",
        "the output of gelu is taken for its slope",
    ),
    Fault(
        "tape-last",
        "kernels/network/tape.py",
        "if i == layers - 1 and copied != 0:",
        "if i == layers - 1 and copied == -1:",
        "the last layer's output is not kept",
    ),
    Fault(
        "tape-block",
        "kernels/network/tape.py",
        "before * word(job, at.COUNT) + first * width",
        "before * word(job, at.COUNT)",
        "every block is written over the first",
    ),
    Fault(
        "tape-state",
        "kernels/network/tape.py",
        "            if back:\n                there, here = here, there\n",
        "",
        "normalized layers go back with the last block's mean",
    ),
    Fault(
        "tape-first",
        "kernels/network/tape.py",
        "unread = 1 if word(job, kept.INTO_X) == 0 else 0",
        "unread = 1",
        "grad_x is computed with weights that nobody packed",
    ),
    Fault(
        "tape-opens",
        "kernels/network/tape.py",
        "adds = block > 0 or word(job, kept.ADD_GRADIENT) != 0",
        "adds = block > 0",
        "accumulate overwrites what is there",
    ),
    Fault(
        "tape-turns",
        "kernels/network/tape.py",
        "threads_add and not whole",
        "0",
        "threads add pieces of a large gradient all at once",
    ),
    Fault(
        "tape-add-x",
        "kernels/network/tape.py",
        "total[i] += some[i]",
        "total[i] = some[i]",
        "the gradient of x is not summed over calls",
    ),
    Fault(
        "tape-pack-back",
        "layers/kinds.py",
        "unused = self.start == 0 and not places.back",
        "unused = self.start == 0",
        "grad_x is read from weights in the wrong order",
    ),
    Fault(
        "tape-checks",
        "kernels/calls/opened.py",
        "if changed(known, words, mark_params(params)):",
        "if changed(known, words, mark_params(params)) and False:",
        "a gradient of parameters that an optimizer has changed",
    ),
    Fault(
        "tape-needs-no-w",
        "kernels/network/dense.py",
        "if word(run, now.SUMS) != 0:",
        "if True:",
        "without a gradient of parameters, it is written to address 0",
    ),
    Fault(
        "tape-network",
        "networks/shared/tapes.py",
        "if tape.network != name:",
        "if False:",
        "a tape is read as one of another network",
    ),
    Fault(
        "tape-mark-x",
        "networks/opened.py",
        'if "params" in names and marks[1] != tape.x_mark:',
        "if False:",
        "changed samples give a wrong gradient without a word",
    ),
    Fault(
        "forms-place",
        "networks/shared/forms.py",
        "place = at + part.elements.start * dtype.itemsize",
        "place = at",
        "the arrays of one vector are copied, or those of another order are not",
    ),
    Fault(
        "forms-base",
        "networks/shared/forms.py",
        "array.base is not base",
        "array.base is None",
        "neighbours in memory are taken for one vector",
    ),
    Fault(
        "forms-wide",
        "networks/shared/forms.py",
        "next((d for d in wide if d is not network.dtype), network.dtype)",
        "network.dtype",
        "the gradient of a float64 dict is float32",
    ),
    Fault(
        "forms-shape",
        "kernels/calls/forms.py",
        "if read_word(shape_of(array) + 8 * i) != word(part, at.SHAPE + i):",
        "if False:",
        "a transposed matrix is taken for the matrix",
    ),
    Fault(
        "forms-order",
        "kernels/calls/forms.py",
        "data(array) != start + word(part, at.START) * size:",
        "data(array) == 0:",
        "views of one vector in another order are read in its order",
    ),
    Fault(
        "forms-owner",
        "kernels/calls/forms.py",
        "base_of(array) != base",
        "base_of(array) == 0",
        "arrays beside each other in memory are taken for one vector",
    ),
    Fault(
        "forms-alive",
        "kernels/calls/forms.py",
        "            increment(flat)\n",
        "",
        "the vector is freed while its views are in use",
    ),
    Fault(
        "forms-readonly",
        "networks/quick_forms.py",
        "not all(array.flags.writeable for array in arrays)",
        "False",
        "read-only views are written to",
    ),
    Fault(
        "forms-pairs",
        "networks/quick_forms.py",
        "len(pair) == 2",
        "len(pair) > 0",
        "three arrays and one are taken for two pairs",
    ),
    Fault(
        "forms-share",
        "networks/shared/forms.py",
        "arrays, len(values))",
        "arrays, 0)",
        "outputs may lie on each other, or on the parameters",
    ),
]

_NETWORKS = [
    Fault(
        "plan-block-order", "kernels/network/plan.py", "opens, not (opens or shared)", "opens, 1",
        "the gradient of the call before is added",
    ),
    Fault(
        "plan-last-block", "kernels/network/plan.py", "part + m == in_batch", "part + m > in_batch",
        "a batch never ends",
    ),
    Fault(
        "plan-saved", "kernels/network/plan.py", "saved = word(row, at.KEPT)",
        "saved = word(row, at.Y)", "the output of gelu is taken for its slope",
    ),
    Fault(
        "plan-keeps", "kernels/network/plan.py", "if kept != 0 and out == 0:",
        "if kept != 0 and out == -1:", "no slope of gelu is kept",
    ),
    Fault(
        "rows-kept", "kernels/elementwise/rows.py", "copy_elements(shift(z, j), rest, count)",
        "copy_elements(shift(z, j), values, count)", "gelu itself is kept instead of its slope",
    ),
    Fault(
        "record-keeping", "kernels/calls/dense_blocks.py",
        "read_word(record + (FORWARD_KEEPING if z != 0 else FORWARD))",
        "read_word(record + FORWARD)", "z is kept where backward wants the slope",
    ),
    Fault(
        "plan-input-row", "kernels/network/plan.py", "space + word(row - ROW, read)",
        "space + word(row, read)", "grad_w from a layer's own output",
    ),
    Fault(
        "loss-sum", "kernels/elementwise/loss.py",
        "if reduction == SUM:", "if reduction == SUM and m == 0:",
        "a sum is divided, too",
    ),
    Fault(
        "plan-gather", "kernels/network/blocks.py",
        "row = read_word(order + 8 * row)", "row = first + i",
        "shuffling does not shuffle the rows",
    ),
    Fault(
        "plan-classes", "kernels/network/plan.py", "target += first * 8", "target += 0",
        "every block gets the first block's classes",
    ),
    Fault(
        "plan-pieces-order", "kernels/network/stage.py", "while read_shared(added) < block:",
        "while read_shared(added) < 0:", "threads add pieces in the order in which they finish",
    ),
    Fault(
        "plan-piece-number", "kernels/network/dense.py", "            piece += 1\n", "",
        "all pieces of a layer share one turn",
    ),
    Fault(
        "plan-packed-together", "kernels/network/blocks.py",
        "while shared and read_shared(job + 8 * at.PACKED) < layers - first:",
        "while shared and read_shared(job + 8 * at.PACKED) < 0:",
        "weights are read before they are packed",
    ),
    Fault(
        "plan-packed-again", "kernels/network/plan.py", "write_shared(job + 8 * at.PACKING, 0)",
        "write_shared(job + 8 * at.PACKING, 1)", "a later step has the first layer's old weights",
    ),
    Fault(
        "plan-single-panel", "kernels/network/dense.py", "(columns or as_they_lie or k <= NR)",
        "(columns or as_they_lie)", "single panels are read where nothing was packed",
    ),
    Fault(
        "plan-shared-order", "kernels/network/plan.py",
        "while read_shared(job + 8 * at.COMMITTED) < block:",
        "while read_shared(job + 8 * at.COMMITTED) < 0:",
        "threads add their terms in the order in which they finish",
    ),
    Fault(
        "norm-rest", "kernels/elementwise/layer_norm.py",
        "out[j] - rest) * scale", "out[j]) * scale",
        "what rounding a large mean left is left in every number",
    ),
    Fault(
        "norm-variance", "kernels/elementwise/layer_norm.py", " - left * left", "",
        "the variance is that about the rounded mean",
    ),
    Fault(
        "norm-eps", "kernels/network/layer_norm.py", "EPS = 1e-5", "EPS = 1e-6", "another epsilon",
    ),
    Fault(
        "norm-back-rest", "kernels/elementwise/layer_norm.py",
        "(x[j] - mean - rest)", "(x[j] - mean)",
        "gradients from a mean that is rounded",
    ),
    Fault(
        "norm-back-hat", "kernels/elementwise/layer_norm.py", " - hat[j] * along_hat", "",
        "the variance is taken for a constant on the way back",
    ),
    Fault(
        "norm-piece", "kernels/network/layer_norm.py", "whole, sums, 2 * k)", "whole, sums, k)",
        "threads lose the gradient of shift",
    ),
    Fault(
        "clip-first", "kernels/network/batch_end.py", "if norm > greatest:", "if norm < greatest:",
        "small gradients are made larger, large ones stay",
    ),
    Fault(
        "clip-scaled", "kernels/network/batch_end.py", "if total > LARGEST or total < SMALLEST:",
        "if total < SMALLEST:", "gradients whose squares overflow become 0",
    ),
    Fault(
        "validation-best", "networks/shared/validation.py", "if loss < self.least:",
        "if loss > self.least:", "the worst epoch is restored",
    ),
    Fault(
        "validation-copy", "networks/shared/validation.py",
        "params.copy() if self.restore else None", "params if self.restore else None",
        "the best epoch's parameters go on changing",
    ),
    Fault(
        "validation-last", "networks/fit.py", "return resume.last.copy()",
        "return resume.params.copy()", "a resumed training goes on from the best epoch",
    ),
    Fault(
        "validation-backward", "kernels/network/plan.py",
        "if word(job, at.GRADIENT) != 0:", "if True:",
        "validating writes a gradient to address 0",
    ),
    Fault(
        "drop-block", "kernels/network/dropout.py",
        "% per_batch * BATCH_BLOCK", "% per_batch",
        "a second block of a batch drops what the first has dropped, moved by one",
    ),
    Fault(
        "drop-step", "kernels/network/dropout.py",
        "word(job, at.FIRST_STEP) + word(job, at.STEPS)", "word(job, at.FIRST_STEP)",
        "every step of a job drops the same elements",
    ),
    Fault(
        "drop-number", "kernels/network/plan_table.py",
        "sum(other is not None for other in rates[:i])", "0",
        "all hidden layers drop the same places",
    ),
    Fault(
        "drop-call", "kernels/calls/network.py",
        "word(plan, at.END_BATCH), 0", "word(plan, at.END_BATCH), 1",
        "value_and_grad drops without a seed",
    ),
    Fault(
        "drop-read", "kernels/network/plan.py",
        "read = at.DROPPED if drops and", "read = at.Y if drops and",
        "grad_w of a layer after dropout is that of x before it",
    ),
    Fault(
        "penalty-zero", "kernels/network/batch_end.py",
        "slope = slope if value != zero else zero", "slope = slope",
        "the penalty l1 pulls weights that are 0",
    ),
    Fault(
        "penalty-nan", "kernels/network/batch_end.py",
        "slope = slope if value == value else value", "slope = slope",
        "the gradient of a weight that is NaN looks finite",
    ),
    Fault(
        "penalty-infinite", "kernels/network/batch_end.py",
        "value = l1 * sizes if l1 != 0 else 0.0", "value = l1 * sizes + l1 * squares",
        "an infinite weight makes the value NaN without a penalty l1",
    ),
    Fault(
        "penalty-blocks", "kernels/network/batch_end.py",
        "add_slopes(w + first * size, g + first * size, some, l1, l2)",
        "add_slopes(w, g, some, l1, l2)",
        "the first weights of a large layer are penalized again and again",
    ),
    Fault(
        "penalty-columns", "kernels/network/batch_end.py", "if columns:\n", "if False:\n",
        "the value's last bits depend on the layout",
    ),
    Fault(
        "penalty-share", "kernels/network/batch_end.py",
        "samples = least(batch, count - number * batch)", "samples = batch",
        "a short last batch's penalty counts as that of a full one",
    ),
    Fault(
        "penalty-weights", "layers/kinds.py", "return self.inputs * self.outputs\n",
        "return self.size\n", "biases are penalized, too",
    ),
    Fault(
        "penalty-call", "kernels/calls/network.py",
        "= word(plan, at.END_BATCH), 0", "= 0, 0",
        "the compiled call knows no penalties",
    ),
    Fault(
        "norm-adds", "kernels/network/layer_norm.py", "0, 0, sums, adds, one", "0, 0, sums, 0, one",
        "the gradient of gain is that of the last block",
    ),
    Fault(
        "norm-block", "kernels/network/layer_norm.py", "place = first * k * size", "place = 0",
        "the activation passes again over the first rows",
    ),
    Fault(
        "norm-kind", "layers/kinds.py", "return 1.0, 0.0", "return 0.0, 1.0",
        "a normalized network begins with nothing passed on",
    ),
    Fault(
        "norm-identity", "networks/shared/architecture.py",
        "identity if norm else activations[i]", "activations[i]",
        "the activation is applied before normalizing, too",
    ),
    Fault(
        "norm-setting", "networks/shared/architecture.py", "and i < hidden", "and i <= hidden",
        "the last layer is normalized",
    ),
    Fault(
        "plan-columns", "kernels/network/dense.py",
        "gw, 1 if columns else k, d if columns else 1, gb,",
        "gw, k, 1, gb,", "grad_w of the column layout transposed",
    ),
    Fault(
        "network-classes", "kernels/calls/network.py",
        "if dimensions(x_object) != 2 or not are_classes(target, words, n, k):",
        "if dimensions(x_object) != 2:",
        "classes are not looked at",
    ),
    Fault(
        "network-overlap", "kernels/calls/network.py", "for other in (params, x_object):",
        "for other in (params, params):", "out may overwrite x",
    ),
    Fault(
        "out-disjoint", "kernels/calls/pyobject.py", "return high + size <= start or",
        "return high <= start or", "out may begin with an input's last element",
    ),
    Fault(
        "out-writeable", "kernels/calls/pyobject.py", "flags & WRITEABLE != 0 and ", "",
        "read-only arrays are written to",
    ),
    Fault(
        "out-each-other", "kernels/calls/dense.py", "for j in range(i):", "for j in range(0):",
        "gradients may overwrite each other",
    ),
    Fault(
        "out-loss", "losses/loss.py",
        "            if out is not None:\n                flags += UNCHECKED\n", "",
        "any object is written to as an array",
    ),
    Fault(
        "predict-out-shape", "kernels/calls/predict.py",
        "if y_n != n or y_k != k or col != 1 or (row != k and n > 1):", "if col != 1:",
        "predictions go into an array of another shape",
    ),
    Fault(
        "predict-out-overlap", "kernels/calls/predict.py",
        "for other in (params, x_object):", "for other in (params,):",
        "predictions overwrite x while it is read",
    ),
    Fault(
        "out-adding", "layers/dense.py", "{True: ACCUMULATE + ADD_X}", "{True: ACCUMULATE}",
        "grad_x is overwritten instead of added to",
    ),
    Fault(
        "out-adding-chain", "kernels/calls/dense.py",
        "if add_x and (k > PRODUCTS or large):", "if add_x and large:",
        "blocks of grad_x are added one by one to what out holds, not their sum",
    ),
    Fault(
        "update-momentum", "kernels/network/update.py", "velocity = momentum * v[i] + slope",
        "velocity = momentum * (v[i] + slope)", "another momentum",
    ),
    Fault(
        "update-nesterov", "kernels/network/update.py",
        "slope + momentum * velocity if nesterov else velocity", "velocity", "no look ahead",
    ),
    Fault(
        "update-correction", "kernels/network/update.py", "settings[POWER2] *= beta2",
        "settings[POWER2] *= beta1", "the second moment's bias",
    ),
    Fault(
        "update-decay", "kernels/network/update.py", "dtype(0.0 if decoupled else weight_decay)",
        "dtype(weight_decay)", "decoupled weights decay twice",
    ),
    Fault(
        "plan-once", "networks/plan.py", "                if self._plan is None:\n",
        "                if True:\n", "a second thread's plan replaces the first's",
    ),
    Fault(
        "network-wide-gradient", "networks/passes.py",
        "return pair[0], TO_FLOAT64.converted(pair[1], None)", "return pair",
        "float64 parameters get a float32 gradient",
    ),
    Fault(
        "network-converted-target", "networks/passes.py",
        "if goal is None and target is not None:", "if False:",
        "a target that is not converted is left out",
    ),
    Fault(
        "network-converted-out", "networks/passes.py",
        "return out is not None and np.may_share_memory(out, array)", "return False",
        "out overwrites what is converted",
    ),
    Fault(
        "job-own-x", "networks/shared/samples.py",
        "x = x if isinstance(x, SparseParts) else own_view(x)",
        "x = x", "a job reads headers that the caller may change",
    ),
    Fault(
        "out-own-view", "results.py", "out = own_view(given)", "out = given",
        "a subclass answers for its own shape",
    ),
    Fault(
        "record-class", "kernels/calls/dense.py",
        "if type_of(record) != record_type(words):  # of a cache, whose fields may be anything",
        "if record == 0:", "any array serves as addresses to call",
    ),
    Fault(
        "job-position", "networks/job.py", "batches * self.batch + part * BATCH_BLOCK",
        "batches * self.batch", "a window starts at the wrong sample",
    ),
    Fault(
        "loss-reduced", "losses/loss.py",
        'count = samples if reduction == "samples" or self.rowwise else elements',
        "count = samples",
        "the mean over elements is one over samples",
    ),
    Fault(
        "training-order", "networks/training_run.py",
        "elif self.shuffle:", "elif False:", "no shuffling",
    ),
    Fault(
        "training-true", "networks/shared/fit_arguments.py",
        "isinstance(answer, bool | np.bool_) and bool(answer)",
        "bool(answer)", "whatever is true stops training",
    ),
    Fault(
        "training-go-back", "networks/training_run.py", "np.copyto(now, kept)", "pass",
        "after an epoch that diverged, the parameters are its own",
    ),
    Fault(
        "training-rewind", "networks/training_run.py",
        "                self.rng.permutation(self.n)\n", "                pass\n",
        "after an interrupt, the orders of epochs already done are taken again",
    ),
    Fault(
        "training-finite", "networks/training_run.py",
        "or (closely and not self._finite())", "",
        "parameters that are not finite are not seen where the loss is",
    ),
    Fault(
        "training-told", "networks/training_run.py", "or losses[: len(before)] != before", "",
        "epochs that were not, of samples changed since, follow the copy",
    ),
    Fault(
        "training-every", "networks/training_run.py",
        "self.wrong is None and self.every > 1 and not self._finite()", "False",
        "parameters that are not finite at the end are not seen between two copies",
    ),
    Fault(
        "training-halves", "networks/training_run.py", "passes //= 2", "return",
        "good epochs of the job that diverged are lost",
    ),
    Fault(
        "job-reached", "networks/job.py", "= start.terms, start.all_terms", "= 0.0, 0.0",
        "the loss of an epoch begun before an interrupt lacks its first samples",
    ),
    Fault(
        "plan-order-of-pass", "kernels/network/plan.py", "order = orders + 8 * this_pass * count",
        "order = orders", "every epoch of a job takes the order of the first",
    ),
    Fault(
        "plan-pass-terms", "kernels/network/plan.py", "total[at.ALL_TERMS] = 0.0", "pass",
        "an epoch's loss holds those before",
    ),
    Fault(
        "update-steps", "kernels/network/update.py", "steps[0] += 1", "steps[0] += 2",
        "the number of steps",
    ),
    Fault(
        "step-moved", "kernels/calls/step.py", "if data(p) != word(row, at.PARAMS) or not apart(",
        "if not apart(", "an array given twice is updated twice once the optimizer has made a step",
    ),
    Fault(
        "step-apart", "kernels/calls/step.py",
        "return low == count or word(spans, 2 * low) >= end", "return True",
        "a gradient that shares memory with a parameter",
    ),
    Fault(
        "step-writeable", "kernels/calls/step.py", "if flags_of(p) & WRITEABLE == 0:", "if False:",
        "an array that became read-only is written to",
    ),
    Fault(
        "step-busy", "kernels/calls/step.py", "if word(table, at.BUSY) != 0:", "if False:",
        "two threads step at once, each with the addresses of the other's arrays",
    ),
    Fault(
        "step-back", "optimizers/compiled_step.py", "p[...] = taken", "pass",
        "a strided array is updated in its buffer alone",
    ),
    Fault(
        "step-decays", "optimizers/optimizer.py", "path, a, a.ndim > 1 or not path)",
        "path, a, True)", "biases decay",
    ),
    Fault(
        "step-copied", "optimizers/optimizer.py", 'kept | {"_state": state.copy()}',
        'kept | {"_state": state}', "a copy of an optimizer shares its memory",
    ),
    Fault(
        "trees-shared", "trees.py", "if first < written and np.shares_memory(",
        "if first < 0 and np.shares_memory(", "arrays that overlap are updated",
    ),
    Fault(
        "trees-order", "trees.py", "for key in tree.keys)\n        extra",
        "for key in grads)\n        extra", "gradients in another order go to other arrays",
    ),
    Fault(
        "update-centered", "kernels/network/update.py", "square -= mean * mean", "pass",
        "RMSprop, centered",
    ),
    Fault(
        "update-lr-decay", "kernels/network/update.py", "1.0 + steps * settings[LR_DECAY]",
        "1.0 + (steps + 1) * settings[LR_DECAY]", "Adagrad's rate decays a step too early",
    ),
    Fault(
        "clip-apart", "kernels/calls/clip.py", "if not all_apart(arrays, narrow):", "if False:",
        "an array given twice is scaled twice",
    ),
    Fault(
        "clip-block", "kernels/elementwise/norm.py", "least(BLOCK, count - first)", "BLOCK",
        "squares of what lies behind an array",
    ),
    Fault(
        "clip-nan", "kernels/calls/clip.py", "value = high if value > high else value",
        "value = value if value <= high else high", "NaN becomes the limit",
    ),
    Fault(
        "clip-overflow", "kernels/calls/clip.py", "if total > LARGEST or ", "if False or ",
        "the norm of large gradients is inf",
    ),
    Fault(
        "update-quotient", "kernels/network/update.py", "return q if a < math.inf else a",
        "return q", "an infinite second moment makes parameters NaN",
    ),
    Fault(
        "update-inverse", "kernels/network/update.py", "        q = a * inverse\n",
        "        return a * inverse\n", "the second moment is off by a unit",
    ),
    Fault(
        "update-rate", "kernels/network/update.py", "step - word(table, at.FIRST_RATE)", "step",
        "resumed, or in its second job, training reads rates behind its schedule",
    ),
    Fault(
        "fit-decays", "networks/shared/architecture.py", "view, part.matrix)", "view, True)",
        "biases of a network decay",
    ),
    Fault(
        "fit-ranges", "networks/shared/architecture.py", "first = found.pop()[0]", "found.pop()",
        "neighbours that decay alike are not updated",
    ),
    Fault(
        "step-rate", "optimizers/optimizer.py", "        compiled.take_rate()\n", "        pass\n",
        "a schedule's rate is that of the first step",
    ),
    Fault(
        "optimizer-powers", "optimizers/optimizer.py", "memory.powers, memory.steps, count)",
        "[1.0] * self.powers, memory.steps, count)", "resumed, Adam counts its steps from 0",
    ),
    Fault(
        "terminal-broken", "terminal.py", "            self._show = False", "            raise",
        "a full disk or a closed pipe ends training",
    ),
    Fault(
        "network-init", "layers/kinds.py", "np.sqrt(gain / self.inputs)",
        "np.sqrt(gain / self.outputs)", "weights scaled by the wrong width",
    ),
    Fault(
        "flat-columns", "networks/shared/architecture.py",
        "np.transpose(value) if self.columns else value", "np.reshape(value, view.shape)",
        "where samples are columns, networks begin as others",
    ),
    Fault(
        "flat-turned", "layers/kinds.py", "else shape[::-1]", "else shape",
        "where samples are columns, weights are read as if they were rows",
    ),
    Fault(
        "epochs-average", "networks/shared/epochs.py",
        "value if size_of is None else value * size_of(batch)", "value * len(batch)",
        "the twins' loss of an epoch is that of some batches twice",
    ),
    Fault(
        "epochs-steps", "networks/shared/epochs.py",
        "rng, memory.steps = before.rng, before.memory.steps", "rng = before.rng",
        "resumed, the twins' Adam counts its steps from 0",
    ),
    Fault(
        "fit-kind", "networks/shared/fit_arguments.py",
        "before is not None and optimizer.kernel != before.kernel", "False",
        "training goes on with the vectors of another optimizer",
    ),
    Fault(
        "training-batch", "networks/training_run.py",
        "min(options.batch_size, len(data.x))", "options.batch_size",
        "a huge batch_size wraps around",
    ),
    Fault(
        "check-infinite", "gradcheck/grad_report.py",
        "right: Array = finite & (", "right: Array = (",
        "any gradient is right where differences are infinite",
    ),
    Fault(
        "update-infinite", "kernels/network/update.py", "g + decay * p if decay != 0 else g",
        "g + decay * p", "0 * inf makes a masked class NaN",
    ),
    Fault(
        "loss-known", "kernels/elementwise/loss.py", "known = 0 <= label < n", "known = label < n",
        "a class spoilt after its check is read far before the row",
    ),
    Fault(
        "training-relabelled", "networks/training_run.py",
        "if epoch > begin:  # a", "if epoch == begin:  # a",
        "classes are looked at before the first epoch only",
    ),
    Fault(
        "deriv-private", "gradcheck/differences.py", "func(p.copy())", "func(p)",
        "a function that works in place moves the points of its difference",
    ),
    Fault(
        "outputs-overlap", "layers/dense_arguments.py",
        '**{f"out.{n}": a for n, a in taken.items()}', "**{}",
        "one gradient is written over another",
    ),
    Fault(
        "loss-own-dtype", "loss_arguments.py",
        'if dtypes.result is own or own.kind != "f":', "if True:",
        "the gradient of float32 predictions has the targets' float64",
    ),
    Fault(
        "twin-bias", "reference/dense.py",
        "b.shape == (k,)", "b.size == k",
        "reference takes a bias of the other layout",
    ),
    Fault(
        "twin-inner", "reference/dense.py",
        "fit = x.shape[0] == d and samples", "fit = samples",
        "reference says a mistake in NumPy's words",
    ),
    Fault(
        "twin-accumulate", "reference/dense.py",
        "and accumulate is False", "and accumulate is not True",
        "reference does not look at accumulate",
    ),
    Fault(
        "callable-buffer", "arguments.py",
        "y.astype(dtype)", "y.astype(dtype, copy=False)",
        "a callable's own buffer is its result",
    ),
    Fault(
        "callable-falsy", "layers/compiled_layer.py",
        "self.activation if self.function is None else self.function",
        "self.function or self.activation", "a pickled cache loses a callable that is false",
    ),
    Fault(
        "nn-failed-forward", "nn/layer.py", "self._y = None  # if it fails", "pass  # if it fails",
        "after a failed forward, backward mixes two inputs",
    ),
    Fault(
        "nn-redefined", "nn/dense.py",
        "self.b, self._applied, samples=self.samples)\n        return y",
        "self.b, self.activation, samples=self.samples)\n        return y",
        "a layer follows its activation's name to another meaning",
    ),
    Fault(
        "end-waits", "kernels/toolchain/undisturbed.py",
        "if self.lock.acquire(timeout=END_PATIENCE):",
        "if False:", "the end of Python does not wait for a thread that compiles",
    ),
    Fault(
        "end-begins", "kernels/toolchain/undisturbed.py",
        "if COMPILE_LOCK.ending not in (None, threading.get_ident()):", "if False:",
        "a thread begins to compile while Python ends",
    ),
    Fault(
        "signals-wait", "kernels/toolchain/undisturbed.py", "            waiting[number] = frame\n",
        "            before[number](number, frame)\n", "an alarm stops Numba in its own import",
    ),
    Fault(
        "jit-alone", "kernels/toolchain/front_end.py", "    with compiling():\n", "    if True:\n",
        "two threads that compile change the user's NUMBA_DISABLE_JIT",
    ),
    Fault(
        "threads-refused", "threads.py", "(0, *range(started, len(tasks)))", "(0,)",
        "where no more threads start, their work is left undone",
    ),
    Fault(
        "threads-none", "threads.py", "tasks if refused else tasks[:1]", "tasks[:1]",
        "where no thread starts, its work is left undone",
    ),
    Fault(
        "threads-alarm", "threads.py",
        "if begun and not ended and family == _forks:", "if False:",
        "after an exception threads still write to the caller's arrays",
    ),
    Fault(
        "threads-stop", "threads.py", "        stop += [True]\n", "        stop += []\n",
        "after an exception threads do all of their work",
    ),
    Fault(
        "threads-cycle", "threads.py", "errors.clear()  #", "pass  #",
        "an error keeps the caller's arrays until garbage is collected",
    ),
    Fault(
        "threads-forked", "threads.py", "if family != _forks:", "if False:",
        "a fork in a signal's handler waits for ever",
    ),
    Fault(
        "network-copy", "networks/shared/base.py",
        'self.dtype = native_dtype("MLP", dtype)', "self.dtype = np.dtype(dtype)",
        "a copied network takes the checked path for ever",
    ),
    Fault(
        "tiles-side", "layers/dense_large.py",
        "if len(others) > len(down) or (len(others) == len(down)",
        "if len(others) > 1 or (len(others) == len(down)", "threads are left without work",
    ),
    Fault(
        "sequential-twice", "nn/sequential.py", "if leaf in seen:", "if False:",
        "a layer that is there twice goes back from its last forward both times",
    ),
    Fault(
        "user-raises", "kernels/toolchain/compile.py", "return z * _NAN", "return z",
        "a user's activation that raises is the identity",
    ),
    Fault(
        "cli-two-processes", "command/cli.py", 'if sys.platform != "win32":', "if False:",
        "SIGTERM ends the command and leaves the process that measures behind",
    ),
    Fault(
        "cli-buffered", "command/cli.py",
        'return status if _printed(end="") else 2', "return status",
        "help that a full disk did not take ends with 0",
    ),
    Fault(
        "blas-slowed", "command/blas.py", "if name in os.environ:", "if False:",
        "figures beside a NumPy that was told to be slow",
    ),
    Fault(
        "arithmetic-flush", "command/environment.py",
        "flushed = _bits(least_normal * half) != _bits(_float(1 << 51))",
        "flushed = least_normal * half == 0",
        "denormals-are-zero looks like flush-to-zero, too",
    ),
    Fault(
        "arithmetic-down", "command/environment.py", "if -one - little < -one:", "if False:",
        "rounding downwards is called rounding towards zero",
    ),
    Fault(
        "debug-info", "kernels/toolchain/compile.py", ', "debug": False', "",
        "NUMBA_DEBUGINFO changes the kernels, and Numba warns",
    ),
]  # fmt: skip

_RECURRENT = [
    Fault(
        "lstm-state",
        "kernels/elementwise/cells.py",
        "fma(f[j], before[j], i[j] * g[j])",
        "fma(i[j], before[j], f[j] * g[j])",
        "input and forget gates are exchanged",
    ),
    Fault(
        "lstm-cell-slope",
        "kernels/elementwise/cells.py",
        "fma(-t, t, one), dc[j])",
        "one, dc[j])",
        "the slope of tanh(c) is left out",
    ),
    Fault(
        "lstm-dc",
        "kernels/elementwise/cells.py",
        "dc[j] = inner * f[j]",
        "dc[j] = inner",
        "the gradient of cells never fades",
    ),
    Fault(
        "gru-keep",
        "kernels/elementwise/cells.py",
        "fma(one - u[j], n[j], u[j] * before[j])",
        "fma(u[j], n[j], (one - u[j]) * before[j])",
        "the other convention of the update gate",
    ),
    Fault(
        "gru-direct",
        "kernels/elementwise/cells.py",
        "dh[j] = fma(grad, keep, following[j])",
        "dh[j] = following[j]",
        "what is kept of a state has no gradient",
    ),
    Fault(
        "gru-after-product",
        "kernels/elementwise/cells.py",
        "dq[j] = dn[j] * r[j]",
        "dq[j] = dn[j]",
        "the product's gradient is not reset",
    ),
    Fault(
        "gru-reset",
        "kernels/elementwise/cells.py",
        "dh[j] = fma(s[j], r[j], dh[j])",
        "dh[j] = dh[j] + s[j]",
        "the state's gradient is not reset",
    ),
    Fault(
        "recurrent-hold",
        "kernels/network/recurrent.py",
        "if step >= word(lengths, i):",
        "if step > word(lengths, i):",
        "a state goes on for a step after its sample's end",
    ),
    Fault(
        "recurrent-ended",
        "kernels/network/recurrent.py",
        "if t < word(lengths, i):",
        "if t <= word(lengths, i):",
        "the step after a sample's end has gradients",
    ),
    Fault(
        "recurrent-passed",
        "kernels/network/recurrent.py",
        "add(k, following + i * k * size, dh + i * k * size)",
        "pass",
        "gradients of the states before an end are lost",
    ),
    Fault(
        "recurrent-blocks",
        "kernels/network/recurrent.py",
        "words[at.CHUNK] = blocks * BATCH_BLOCK",
        "words[at.CHUNK] = 200",
        "sums over rows have blocks of another length: other bits",
    ),
    Fault(
        "recurrent-chunks",
        "kernels/network/recurrent.py",
        "ADD if i > 0 else 0",
        "0",
        "the gradients of weights are those of the last rows",
    ),
    Fault(
        "recurrent-second",
        "kernels/network/recurrent.py",
        "second = 3 * k if cell == at.GRU_AFTER else 2 * k",
        "second = 2 * k",
        "the gradient of the product is taken for that of what is reset",
    ),
    Fault(
        "recurrent-zeros",
        "kernels/network/recurrent.py",
        "clear(zeros, states)",
        "pass",
        "the first state's gradient begins with what happens to be there",
    ),
    Fault(
        "recurrent-grad-c",
        "kernels/network/recurrent.py",
        "add(n * k, grad_c + t * states, dc)",
        "add(n * k, grad_c, dc)",
        "every step gets the gradient of the first step's cells",
    ),
    Fault(
        "recurrent-ifgo",
        "layers/recurrent.py",
        '(3 * k, 2 * k) if setting == "ifgo"',
        '(2 * k, 3 * k) if setting == "ifgo"',
        "PyTorch's order of gates is taken for CS231n's",
    ),
    Fault(
        "recurrent-nn",
        "nn/recurrent.py",
        "for gradient in made._fields[1:]:",
        "for gradient in made._fields[2:]:",
        "the first state's gradient is that of a former call",
    ),
    Fault(
        "recurrent-bias",
        "layers/recurrent.py",
        "b[0, : 2 * k] + b[1, : 2 * k]",
        "b[0, : 2 * k]",
        "the second bias of two gates is forgotten",
    ),
    Fault(
        "recurrent-padding",
        "layers/recurrent_arguments.py",
        "if ends is not None:",
        "if False:",
        "a NaN behind a sample's end comes into the gradients of weights",
    ),
    Fault(
        "recurrent-mark",
        "layers/recurrent_arguments.py",
        "return flat[:: max(1, flat.size // 64)].tobytes()",
        'return b""',
        "states that were changed between are taken for the layer's",
    ),
    Fault(
        "recurrent-wide",
        "layers/recurrent_arguments.py",
        "if dtypes.work is not given.dtypes.work:",
        "if False:",
        "a float64 gradient of a float32 layer is read as the kernels' dtype",
    ),
]

_MORE_LAYERS = [
    Fault(
        "dropout-half",
        "kernels/elementwise/philox.py",
        "words[4 * i + 2] = types.uint32(e)",
        "words[4 * i + 2] = types.uint32(f)",
        "two elements of four are dropped together",
    ),
    Fault(
        "dropout-bump",
        "kernels/elementwise/philox.py",
        "k + _W0 + _W0, m + _W1 + _W1",
        "k + _W0, m + _W1",
        "a key is used for two rounds",
    ),
    Fault(
        "dropout-high",
        "kernels/elementwise/philox.py",
        "_two_rounds(place, place >> _HALF,",
        "_two_rounds(place, place & np.uint64(0),",
        "places 2**34 apart are dropped together",
    ),
    Fault(
        "dropout-within",
        "kernels/elementwise/philox.py",
        "skipped = (place + done) % 4",
        "skipped = 0",
        "a piece that begins within a counter draws other words",
    ),
    Fault(
        "dropout-limit",
        "kernels/elementwise/philox.py",
        "if words[i] >= threshold",
        "if words[i] > threshold",
        "an element of just this word is dropped",
    ),
    Fault(
        "dropout-all",
        "kernels/elementwise/philox.py",
        "if threshold > LAST_WORD:",
        "if False:",
        "a rate near 1 drops nothing",
    ),
    Fault(
        "dropout-key",
        "layers/dropout.py",
        "seed - (1 << 64)",
        "0",
        "large seeds drop the same elements",
    ),
    Fault(
        "dropout-ceil",
        "layers/dropout.py",
        "math.ceil(rate * _WORDS)",
        "int(rate * _WORDS)",
        "the least rates drop nothing",
    ),
    Fault(
        "dropout-place",
        "layers/dropout.py",
        "start + part.start,",
        "start,",
        "every thread draws the words of the first piece",
    ),
    Fault(
        "dropout-copy",
        "layers/dropout.py",
        "deliver(y, dtypes.result, out)\n    flat, target",
        "deliver(y, dtypes.result, None)\n    flat, target",
        "a strided out is not written",
    ),
    Fault(
        "dropout-promoted",
        "layers/dropout_arguments.py",
        "promoted(cache.dtype, array.dtype)",
        "promoted(array.dtype)",
        "a narrow grad_y rounds",
    ),
    Fault(
        "embedding-range",
        "kernels/calls/embedding.py",
        "wrong |= row | (height - 1 - row)",
        "wrong |= row",
        "ids beyond the table read what lies behind it",
    ),
    Fault(
        "embedding-negative",
        "kernels/calls/embedding.py",
        "wrong |= row | (height - 1 - row)",
        "wrong |= height - 1 - row",
        "negative ids read what lies before the table",
    ),
    Fault(
        "embedding-sum",
        "kernels/calls/embedding.py",
        "target[j] = target[j] + source[j]",
        "target[j] = source[j]",
        "an id that occurs twice has the last row's gradient",
    ),
    Fault(
        "embedding-column",
        "kernels/calls/embedding.py",
        "if column == 1:",
        "if True:",
        "a transposed table is read as if it were contiguous",
    ),
    Fault(
        "embedding-clear",
        "layers/embedding.py",
        "        if not given.accumulate:\n            sums.fill(0)",
        "        pass",
        "out is added to without being asked",
    ),
    Fault(
        "embedding-accumulate",
        "layers/embedding.py",
        'sums = taken.astype(work, order="C") if given.accumulate else np.zeros(shape, work)',
        "sums = np.zeros(shape, work)",
        "a strided out is overwritten instead of added to",
    ),
    Fault(
        "embedding-rows",
        "layers/embedding.py",
        "return EmbeddingRows(found, ",
        "return EmbeddingRows(np.unique(ids), ",
        "the used rows have other numbers",
    ),
    Fault(
        "embedding-pieces",
        "layers/embedding.py",
        "lines[i : i + each]",
        "lines[:each]",
        "every piece of a large embedding has the first one's rows",
    ),
    Fault(
        "embedding-uint64",
        "layers/embedding_arguments.py",
        'if chosen.dtype.kind == "u" and',
        'if chosen.dtype.kind == "?" and',
        "the error of a large id names a negative one",
    ),
    Fault(
        "layer-norm-adds",
        "kernels/calls/layer_norm.py",
        "1 if first > 0 else 0",
        "0",
        "the gradients of gain and bias are those of the last block",
    ),
    Fault(
        "layer-norm-state",
        "kernels/calls/layer_norm.py",
        "word(table, KEPT) + (first + i) * STATE",
        "word(table, KEPT) + i * STATE",
        "later blocks are pulled back by the first one's scales",
    ),
    Fault(
        "layer-norm-unwanted",
        "kernels/calls/layer_norm.py",
        "if grad_x == 0 and grad_gain == 0:",
        "if grad_x == 0:",
        "the gradient of gain alone is not computed",
    ),
    Fault(
        "layer-norm-eps",
        "kernels/calls/layer_norm.py",
        "as_pointer(table, types.float64)[EPS]",
        "1e-5",
        "eps is not the caller's",
    ),
    Fault(
        "batch-norm-rest",
        "kernels/calls/batch_norm.py",
        "rest[j] = dtype(found[j] - types.float64(rounded) + left[j])",
        "rest[j] = dtype(0)",
        "what rounding a large mean left is left in every number",
    ),
    Fault(
        "batch-norm-left",
        "kernels/calls/batch_norm.py",
        "sums[k + j] / n - left * left",
        "sums[k + j] / n",
        "the variance is that about the rounded mean",
    ),
    Fault(
        "batch-norm-blocks",
        "kernels/calls/batch_norm.py",
        "clear(part, k * SIZE)\n            for",
        "add_up(0, part, total)\n            for",
        "every block has the sums of those before it",
    ),
    Fault(
        "batch-norm-products",
        "kernels/calls/batch_norm.py",
        "products[j] + slope * types.float64(h)",
        "products[j] + slope * types.float64(x[j])",
        "the gradient of gain is that of a weight",
    ),
    Fault(
        "batch-norm-constant",
        "kernels/calls/batch_norm.py",
        "if word(table, TRAINING) else dtype(0)",
        "if True else dtype(0)",
        "constants have gradients",
    ),
    Fault(
        "batch-norm-along",
        "kernels/calls/batch_norm.py",
        "g[j] - along_ones[j] - h * along_h[j]",
        "g[j] - along_ones[j]",
        "the variance is taken for a constant on the way back",
    ),
    Fault(
        "batch-norm-scale",
        "kernels/calls/batch_norm.py",
        "* scale[j] * gain[j]\n\n",
        "* scale[j]\n\n",
        "the gradient of x lacks the gain",
    ),
    Fault(
        "batch-norm-momentum",
        "layers/batch_norm.py",
        "average *= stays",
        "average *= 1 - stays",
        "momentum is what is new, as in PyTorch",
    ),
    Fault(
        "batch-norm-training",
        "layers/batch_norm.py",
        "if averages is not None and training:",
        "if averages is not None:",
        "evaluation changes the running statistics",
    ),
    Fault(
        "norm-columns",
        "layers/norm_arguments.py",
        "turned = array.T if columns and array.ndim == 2 else array",
        "turned = array",
        "columns are normalized as rows",
    ),
    Fault(
        "norm-kinds",
        "layers/norm_arguments.py",
        "or cache.kind != kind:",
        "or False:",
        "the cache of the other kind is taken",
    ),
    Fault(
        "nn-dropout-step",
        "nn/dropout.py",
        "self.step += self.training",
        "self.step += 0",
        "every step of training drops the same elements",
    ),
    Fault(
        "nn-dropout-last",
        "nn/dropout.py",
        "max(self.step - 1, 0)",
        "self.step",
        "the Jacobian is that of the next forward",
    ),
    Fault(
        "nn-norm-batch",
        "nn/norm.py",
        "block -= (1 + np.outer",
        "block -= (0 + np.outer",
        "the Jacobian of a batch takes the mean for a constant",
    ),
    Fault(
        "nn-norm-running",
        "nn/norm.py",
        "running = None if self.training else (self.running_mean, self.running_variance)",
        "running = self.running_mean, self.running_variance",
        "a Jacobian changes the running statistics",
    ),
    Fault(
        "nn-modes",
        "nn/sequential.py",
        "layer.train(training)",
        "layer.train()",
        "the layers of a Sequential stay in training",
    ),
]


_BRIDGES = [
    Fault(
        "dask-divisor",
        "dask/sums.py",
        "divisor = float(n * terms)",
        "divisor = float(n)",
        "a mean over elements is divided by the samples",
    ),
    Fault(
        "dask-overwrites",
        "dask/sums.py",
        "grad = part.grad.copy() if grad is None",
        "grad = part.grad if grad is None",
        "a sum is written over a block's gradient, which a scheduler may still need",
    ),
    Fault(
        "dask-order",
        "dask/sums.py",
        "np.random.default_rng((self.seed, self.epoch, self.block))",
        "np.random.default_rng((self.seed, self.part, self.block))",
        "the parts of an epoch overlap: samples are drawn twice or never",
    ),
    Fault(
        "dask-decay",
        "dask/training.py",
        'array if name == "w" else array.reshape(-1)',
        "array",
        "in columns weight decay is for biases, too",
    ),
    Fault(
        "bridge-shared-w",
        "layers/batched.py",
        "return w.shape[:lead] == (1,) * lead and (b is None or b.shape[:lead] == (1,) * lead)",
        "return w.shape[:lead] == (1,) * lead",
        "the first sample's bias is every sample's under vmap",
    ),
    Fault(
        "bridge-place",
        "layers/batched.py",
        "a[tuple(i if size > 1 else 0 for i, size in zip(place, a.shape, strict=False))]",
        "a[tuple(0 for i, size in zip(place, a.shape, strict=False))]",
        "the first sample stands for all under vmap",
    ),
    Fault(
        "bridge-order",
        "autograd.py",
        "return [by_name[name] for name in need]",
        "return list(by_name.values())[::-1]",
        "the gradients of several arguments are swapped",
    ),
    Fault(
        "bridge-second",
        "torch/second.py",
        "return made if b is not None else (*made, None)",
        "return made if b is None else (*made[:-1], 2 * made[-1])",
        "the second derivative of the bias is doubled",
    ),
    Fault(
        "bridge-weight",
        "torch/modules.py",
        "layers.append((w if columns else w.T,",
        "layers.append((w if columns else w[::-1].T,",
        "a module's outputs come in another order",
    ),
]

_SPARSE = [
    Fault(
        "sparse-same",
        "kernels/product/sparse_rows.py",
        'builder.icmp_signed("==", here, block)',
        'builder.icmp_signed(">=", here, block)',
        "all products of a row are one chain: within every bound, but other bits",
    ),
    Fault(
        "sparse-fresh",
        "kernels/product/sparse_rows.py",
        "builder.select(from_zero, writer.zero, load(out, v))",
        "load(out, v)",
        "sums are added to what new memory happens to hold",
    ),
    Fault(
        "sparse-empty",
        "kernels/product/sparse_rows.py",
        "builder.cbranch(builder.or_(some, anew), begin, following_row)",
        "builder.cbranch(some, begin, following_row)",
        "outputs of a sample without entries stay what they were",
    ),
    Fault(
        "sparse-index",
        "kernels/product/sparse.py",
        "if index < 0 or index >= d:",
        "if index < 0 or index > d:",
        "a row behind the last one of w is read",
    ),
    Fault(
        "sparse-ascend",
        "kernels/product/sparse.py",
        "if index <= last:",
        "if index < last:",
        "repeated indices pass for ascending: their sum has other bits, and gradients",
    ),
    Fault(
        "sparse-decreasing",
        "kernels/product/sparse.py",
        "if end < before:",
        "if end < 0:",
        "rows that begin behind their end are taken",
    ),
    Fault(
        "sparse-length",
        "kernels/product/sparse.py",
        "if before > length:",
        "if before > length + 1:",
        "an entry behind the last one is read",
    ),
    Fault(
        "sparse-single",
        "kernels/product/sparse.py",
        "if p == end or number(at, p, wide) // PRODUCTS != block:",
        "if p == end or number(at, p, wide) // PRODUCTS >= block:",
        "a single output is one chain of rounded products: other bits than of a dense x",
    ),
    Fault(
        "sparse-stable",
        "layers/sparse_rows.py",
        "order, starts = _order(samples, parts.samples, order, dtype)",
        "order, starts = _order(samples, parts.samples, None, dtype)",
        "entries of a sample stay in the order they were in",
    ),
    Fault(
        "sparse-chunk",
        "kernels/product/sparse.py",
        "g + chunk * g_row * size",
        "g + chunk * size",
        "samples after the first 16,384 take the gradients of others",
    ),
    Fault(
        "sparse-seek",
        "kernels/product/sparse.py",
        "if number(indices, middle, wide) < feature:",
        "if number(indices, middle, wide) <= feature:",
        "a thread leaves out the first feature of its share",
    ),
    Fault(
        "sparse-row",
        "layers/sparse_rows.py",
        "first[starts[:-1][starts[:-1] < len(indices)]] = True",
        "pass",
        "the last entry of a sample and the first of the next one are added up",
    ),
    Fault(
        "sparse-trust",
        "layers/dense_arguments.py",
        'if need is NEED or "x" not in names:',
        "if True:",
        "a gradient of x that was asked for is silently None",
    ),
    Fault(
        "sparse-narrow",
        "kernels/product/sparse.py",
        "sums[index * k + j] = dtype(0)",
        "sums[index * k + j] = sums[index * k + j]",
        "few outputs: a block's sums are added again with those of the next one",
    ),
    Fault(
        "sparse-turn",
        "kernels/network/sparse.py",
        "0 if word(run, now.OPENS) else 1",
        "1",
        "threads add to what the gradient held",
    ),
    Fault(
        "sparse-piece",
        "kernels/network/sparse.py",
        "while read_shared(added) < block:",
        "while read_shared(added) < 0:",
        "two threads add to the same rows, in any order",
    ),
    Fault(
        "sparse-cost",
        "networks/sparse_input.py",
        "row[at.B] = self.start + d * k if self.dense.bias else -1",
        "row[at.B] = self.start + d * k",
        "a network without a bias adds weights of the next layer",
    ),
    Fault(
        "sparse-target",
        "networks/shared/samples.py",
        "if isinstance(inputs, SparseSamples):  # once",
        "if False:  # once",
        "targets of another dtype are converted in windows, which a sparse x does not have",
    ),
    Fault(
        "sparse-lines",
        "layers/sparse_arguments.py",
        "wrong = (parts.lines < 0) | (parts.lines >= parts.extent[0])",
        "wrong = parts.lines < 0",
        "a row of COO outside of the matrix writes outside of the workspace",
    ),
]

_WEIGHTS = [
    Fault(
        "own-loss-wide",
        "kernels/elementwise/loss.py",
        "inlined(lambda p, t: wide(term(wide(p), wide(t)))),",
        "inlined(lambda p, t: wide(term(p, t))),",
        "terms of float32 predictions are rounded to float32",
    ),
    Fault(
        "own-loss-check",
        "losses/define.py",
        "for target in TARGETS:",
        "for target in TARGETS[:1]:",
        "a derivative that is wrong in the target is not told",
    ),
    Fault(
        "huber-delta-slope",
        "kernels/elementwise/loss.py",
        "copysign(real(delta), d) if fabs(d) > real(delta) else d",
        "copysign(one, d) if fabs(d) > real(delta) else d",
        "the slope of large differences is that of delta = 1",
    ),
    Fault(
        "huber-delta-plan",
        "networks/plan.py",
        "words.view(np.float64)[at.SETTING] = self.loss.setting",
        "words.view(np.float64)[at.SETTING] = 1.0",
        "networks know only delta = 1",
    ),
    Fault(
        "poisson-no-count",
        "kernels/elementwise/loss.py",
        "if t != zero and p != infinity else wide(0)",
        "if p != infinity else wide(0)",
        "a count of 0 at -inf makes the term NaN",
    ),
    Fault(
        "weights-left-out",
        "kernels/elementwise/loss_terms.py",
        "values[i] = value if weights[i] > zero else zero",
        "values[i] = value",
        "a term of weight 0 that is NaN makes the loss NaN",
    ),
    Fault(
        "weights-left-out-slope",
        "kernels/elementwise/loss_terms.py",
        "s_rest[i] = d if weights[i] > zero else nothing",
        "s_rest[i] = d",
        "a slope of weight 0 that is NaN stays NaN",
    ),
    Fault(
        "weights-row",
        "kernels/elementwise/loss_terms.py",
        "row, col, done = row + 1, 0, end",
        "row, col, done = row, 0, end",
        "all rows of a chunk have the weights of its first",
    ),
    Fault(
        "weights-order",
        "kernels/elementwise/loss_terms.py",
        "if table[at.ORDER] != 0:",
        "if False:",
        "weights do not follow their shuffled samples",
    ),
    Fault(
        "weights-softmax-zero",
        "kernels/elementwise/loss_terms.py",
        "if grad != 0 and not counts:",
        "if False:",
        "the gradient of a row of weight 0 is what memory held",
    ),
    Fault(
        "weights-first",
        "kernels/network/loss.py",
        "weights += 8 * first * each",
        "weights += 8 * first",
        "later blocks have the weights of other samples",
    ),
    Fault(
        "weights-divisor",
        "kernels/network/loss.py",
        "as_pointer(divisors, wide)[step]",
        "as_pointer(divisors, wide)[0]",
        "each batch is divided by the weights of the first",
    ),
    Fault(
        "weights-sum-order",
        "kernels/elementwise/weights.py",
        "if order != 0:",
        "if False:",
        "the sum is that of other samples",
    ),
    Fault(
        "weights-empty-batch",
        "networks/weighing.py",
        "self.divisors[self.divisors == 0] = 1.0",
        "pass",
        "a batch without any weight makes parameters NaN",
    ),
    Fault(
        "weights-terms",
        "networks/weighing.py",
        "self.terms = network.terms_of_sample if weights.ndim == 1 else 1",
        "self.terms = 1",
        "a mean is one over samples",
    ),
    Fault(
        "weights-x",
        "networks/shared/samples.py",
        "x = np.where(self.left_out[samples, None], dtype.type(0), x)",
        "pass",
        "a NaN in x of a sample without weight comes into the gradient",
    ),
    Fault(
        "weights-classes",
        "loss_arguments.py",
        "if weights is None or weights.all():",
        "if True:",
        "a class of weight 0 is checked",
    ),
    Fault(
        "weights-window",
        "networks/job.py",
        "self._attach_weights(np.ascontiguousarray(data.weights[where]), first)",
        "self._attach_weights(data.weights, 0)",
        "in a window, weights do not follow their shuffled samples",
    ),
    Fault(
        "weights-finite",
        "loss_arguments.py",
        "wrong = ~((array >= 0) & (array < np.inf))",
        "wrong = array < 0",
        "weights that are NaN are taken",
    ),
    Fault(
        "weights-direct-total",
        "networks/passes.py",
        "return (pair[0] / total if mean else pair[0]), pair[1]",
        "return pair",
        "the loss of a direct call is not divided",
    ),
    Fault(
        "weights-epoch",
        "networks/job.py",
        "return terms / self.weighing.total",
        "return self.network.reduced(terms, self.count)",
        "the loss of an epoch is divided by its samples",
    ),
]

_DOCTOR = [
    Fault(
        "doctor-given",
        "diagnosis/network/walk.py",
        "if path.above is not None and path.above is not self.right[layer + 1].grad_z:",
        "if path.above is None and path.above_error is not None:",
        "what lies before a mistake is not judged given that mistake",
    ),
    Fault(
        "doctor-slope-bound",
        "diagnosis/network/model.py",
        "moved + FEW * self.unit * np.maximum(1.0, np.abs(at))",
        "0.0 * moved",
        "a derivative that cancels is taken for wrong in float32",
    ),
    Fault(
        "doctor-underflow",
        "diagnosis/network/model.py",
        "error = inner @ weights + self.tiny * len(weights)",
        "error = 0.0 * (inner @ weights)",
        "the rounding of z is forgotten",
    ),
    Fault(
        "doctor-transpose",
        "diagnosis/network/at_layers.py",
        'yield "", s.above @ w\n',
        'yield "", s.above @ w.T\n',
        "W for W.T on the way back is not known",
    ),
    Fault(
        "doctor-halved",
        "diagnosis/network/at_arrays.py",
        '("halved: its value\'s l / 2, not l", 0.5)',
        '("halved: its value\'s l / 2, not l", 0.25)',
        "a penalty of l / 2 in place of l has no name of its own",
    ),
    Fault(
        "doctor-mean",
        "diagnosis/network/factors.py",
        "near == 1.0 / n and n > 1",
        "near == n",
        "a bias's mean is called a factor",
    ),
    Fault(
        "doctor-copies",
        "diagnosis/network/calls.py",
        "return {slot: value.copy() for slot, value in values.items()}, names",
        "return values, names",
        "gradients that add up in one array hide what the first call gave",
    ),
    Fault(
        "doctor-not-finite",
        "diagnosis/network/walk.py",
        "return worst if worst == worst else np.inf",
        "return worst if worst == worst else 0.0",
        "a NaN in a gradient is right",
    ),
    Fault(
        "doctor-rank",
        "diagnosis/network/script.py",
        "for rank, n in enumerate(sorted({n for _, n in found}), 1)",
        "for rank, n in enumerate(sorted({n for _, n in found}), 2)",
        "names say nothing about which array is which: those of one shape are taken in order",
    ),
    Fault(
        "doctor-columns",
        "diagnosis/network/script.py",
        "return np.ascontiguousarray(wide.T) if self.columns else wide",
        "return np.ascontiguousarray(wide)",
        "the weights of columns are not transposed",
    ),
    Fault(
        "doctor-value",
        "diagnosis/network/explain.py",
        "found = fitting or [_with_value(e, evidence) for e in found]",
        "found = fitting or found",
        "a wrong loss with a right gradient is not told",
    ),
]

FAULTS = [
    *_KERNELS,
    *_WRAPPERS,
    *_NETWORKS,
    *_OPENED,
    *_RECURRENT,
    *_MORE_LAYERS,
    *_BRIDGES,
    *_WEIGHTS,
    *_SPARSE,
    *_DOCTOR,
]
