package rows

import "slices"

// contribRules are of ONNX Runtime's own operators, most of which its optimiser
// puts in the place of several others.
func contribRules(put putter) {
	const (
		window = "auto_pad dilations group kernel_shape pads strides"
		fused  = window + " activation activation_params"
	)
	put(contrib, entry{rule: single(nil)}, "Gelu")
	put(contrib, entry{rule: single(nil), attributes: "alpha"}, "QuickGelu")
	put(contrib, entry{rule: biasGelu}, "BiasGelu", "FastGelu")
	put(contrib, entry{rule: fusedMatMul, attributes: "alpha transA transB transBatchA transBatchB"}, "FusedMatMul")
	put(contrib, entry{rule: gemm, attributes: "activation activation_alpha activation_beta activation_gamma alpha beta transA transB"}, "FusedGemm")
	put(contrib, entry{rule: fusedConv, attributes: fused}, "FusedConv")
	put(contrib, entry{rule: skipNorm, attributes: "epsilon"}, "SkipLayerNormalization")
	put(contrib, entry{rule: skipSimplified, attributes: "epsilon"}, "SkipSimplifiedLayerNormalization")
	put(contrib, entry{rule: embedNorm, attributes: "epsilon mask_index_type"}, "EmbedLayerNormalization")
	put(contrib, entry{rule: attention, attributes: "do_rotary mask_filter_value num_heads past_present_share_buffer qkv_hidden_sizes rotary_embedding_dim scale unidirectional"}, "Attention")
	put(contrib, entry{rule: multiHead, attributes: "mask_filter_value num_heads scale unidirectional"}, "MultiHeadAttention")
	quantRules(put)
	put(contrib, entry{rule: cdist, attributes: "metric"}, "CDist")

	put(blocked, entry{rule: reorderInput, attributes: "channels_last"}, "ReorderInput")
	put(blocked, entry{rule: reorderOutput, attributes: "channels channels_last"}, "ReorderOutput")
	put(blocked, entry{rule: fusedConv, attributes: fused}, "Conv")
	put(blocked, entry{rule: pool, attributes: window + " ceil_mode count_include_pad storage_order"}, "MaxPool", "AveragePool")
	put(blocked, entry{rule: globalPool}, "GlobalMaxPool", "GlobalAveragePool")
	put(blocked, entry{rule: upsampleBlocks, attributes: "coordinate_transformation_mode mode scales"}, "Upsample")
}

// biasGelu adds a bias of the last axis.
func biasGelu(c *call) []value {
	if !c.need(1, 2) || !c.fixed(1) {
		return nil
	}
	if c.in[0].kind == byRow {
		if c.scaledBy(c.in[0], c.in[1:]); c.why != "" {
			return nil
		}
		if c.arg(1).kind != absent && c.in[0].axis == len(c.in[0].dims)-1 {
			return c.refuse("has a bias for each row")
		}
	}
	return c.broadcast(nil, c.in[:1]...)
}

// skipSimplified is skipNorm without a beta: input, skip, gamma, bias.
func skipSimplified(c *call) []value { return skipNorm(c) }

// reorderInput pads the channels to blocks.
func reorderInput(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	last := c.flag("channels_last", 0)
	channels, after := x.dims[1], x.dims[2:]
	if last {
		channels, after = x.dims[len(x.dims)-1], x.dims[1:len(x.dims)-1]
	}
	if n, ok := channels.constant(); !ok || n%16 != 0 {
		channels = c.someSize()
	}
	return []value{x.where(slices.Concat(x.dims[:1], []mono{channels}, after))}
}

// reorderOutput drops what the channels were padded with.
func reorderOutput(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	channels := c.someSize()
	if n := c.integer("channels", 0); n > 0 {
		channels = number(n)
	}
	if c.flag("channels_last", 0) {
		return []value{x.where(slices.Concat(x.dims[:1], x.dims[2:], []mono{channels}))}
	}
	return []value{x.where(x.with(1, channels))}
}

func upsampleBlocks(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	scales := c.integers("scales")
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	if len(scales) != len(x.dims) || scales[0] != 1 {
		return c.refuse("scales the axis that the rows are on")
	}
	dims := slices.Clone(x.dims)
	for i := 2; i < len(dims); i++ {
		var ok bool
		if dims[i], ok = dims[i].times(number(scales[i])); !ok || scales[i] < 1 {
			dims[i] = c.someSize()
		}
	}
	return []value{x.where(dims)}
}

// cdist has the distances of each row to all of what is the same for all rows.
func cdist(c *call) []value {
	if !c.need(2, 2) || c.counted() || !c.fixed(1) {
		return nil
	}
	x, y := c.in[0], c.in[1]
	if x.kind == same {
		return c.sames(1)
	}
	if len(x.dims) != 2 || x.axis != 0 || !y.ranked || len(y.dims) != 2 {
		return c.refuse("does not have the rows on the first of two axes")
	}
	return []value{x.where([]mono{x.dims[0], y.dims[0]})}
}

// batched reports whether v has the rows, one of its first axis for each, on as many
// axes.
func (c *call) batched(v value, rank int) bool {
	if v.kind == byRow && v.axis == 0 && len(v.dims) == rank && v.outer.literal(1) && v.dims[0] == c.in[0].dims[0] {
		return true
	}
	c.refuse("does not have the same rows on the first axis of all that it takes")
	return false
}

// embedNorm looks words, places and segments up, and normalizes their sum.
func embedNorm(c *call) []value {
	if !c.need(5, 9) || c.counted() {
		return nil
	}
	if c.allSame() {
		return c.sames(len(c.n.Outputs))
	}
	ids := c.in[0]
	if !c.batchedOrRefuse(ids, 2) {
		return nil
	}
	for i, v := range c.in {
		switch {
		case v.kind == absent || i == 0:
		case i == 1 || i == 7:
			if !c.batched(v, 2) {
				return nil
			}
		case i == 8:
			if v.kind != same {
				return c.refuse("takes places of each row")
			}
		case v.kind != same:
			return c.refuse("takes rows as its input %d, which must be the same for all of them", i)
		}
	}
	if p := c.arg(8); p.kind == same && (!p.ranked || len(p.dims) != 2 || !p.dims[0].literal(1)) {
		return c.refuse("takes a value of its own along the axis that the rows are on")
	}
	width := c.someSize()
	if table := c.in[2]; table.ranked && len(table.dims) == 2 {
		width = table.dims[1]
	}
	out := ids.where([]mono{ids.dims[0], ids.dims[1], width})
	return []value{out, ids.where(ids.dims[:1]), out}
}

func (c *call) batchedOrRefuse(v value, rank int) bool {
	if v.kind != byRow {
		return c.refuse("takes rows beside what has none") != nil
	}
	return c.batched(v, rank)
}

// attention is of ONNX Runtime's own kind: input, weights, bias, mask, past, bias
// of the scores. Masks of one axis have one number for each row; what else they
// may be is not followed.
func attention(c *call) []value {
	if !c.need(2, 7) || c.counted() || !c.no(4) {
		return nil
	}
	if c.allSame() {
		return c.sames(len(c.n.Outputs))
	}
	if c.flag("do_rotary", 0) || c.flag("past_present_share_buffer", 0) {
		return c.refuse("has a state, which is not followed")
	}
	x := c.in[0]
	if !c.batchedOrRefuse(x, 3) {
		return nil
	}
	if c.in[1].kind != same || c.arg(2).kind != absent && c.arg(2).kind != same {
		return c.refuse("takes rows as its weights, which must be the same for all of them")
	}
	if mask := c.arg(3); mask.kind != absent && !c.mask(mask, x.dims[0]) {
		return nil
	}
	width := c.someSize()
	if sizes := c.integers("qkv_hidden_sizes"); len(sizes) == 3 {
		width = number(sizes[2])
	} else if w := c.in[1]; w.ranked && len(w.dims) == 2 {
		if n, ok := w.dims[1].constant(); ok && n%3 == 0 {
			width = number(n / 3)
		}
	}
	return []value{x.where([]mono{x.dims[0], x.dims[1], width})}
}

// mask reports whether a mask is of the same rows: [rows], [rows, all],
// [rows, sequence, all] or [rows, 1, …, all].
func (c *call) mask(v value, rows mono) bool {
	if v.kind == byRow && v.axis == 0 && v.outer.literal(1) && v.dims[0] == rows && len(v.dims) <= 3 {
		return true
	}
	c.refuse("has a mask that is not of the same rows")
	return false
}

// multiHead is attention of queries, keys and values: query, key, value, bias,
// mask, bias of the scores, past.
func multiHead(c *call) []value {
	if !c.need(3, 10) || c.counted() || !c.no(6) {
		return nil
	}
	if c.allSame() {
		return c.sames(len(c.n.Outputs))
	}
	query, key, content := c.in[0], c.in[1], c.in[2]
	if !c.batchedOrRefuse(query, 3) || !c.batched(key, 3) || !c.batched(content, 3) {
		return nil
	}
	if bias := c.arg(3); bias.kind != absent && bias.kind != same {
		return c.refuse("has a bias for each row")
	}
	if mask := c.arg(4); mask.kind != absent && !c.mask(mask, query.dims[0]) {
		return nil
	}
	if bias := c.arg(5); bias.kind != absent {
		switch {
		case bias.kind == same && bias.ranked && len(bias.dims) == 4 && bias.dims[0].literal(1):
		case !c.batchedOrRefuse(bias, 4):
			return nil
		}
	}
	return []value{query.where([]mono{query.dims[0], query.dims[1], content.dims[2]})}
}
