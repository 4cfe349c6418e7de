package rows_test

import (
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
)

func kernelSnippets() map[string]snippet {
	all := map[string]snippet{}
	all["MatMul"] = func(g *gen) {
		x := g.pick(f32, 1)
		switch g.IntN(3) {
		case 0:
			k := positives(x.shape[len(x.shape)-1:])[0]
			shape := slices.Clone(x.shape)
			shape[len(shape)-1] = 3
			g.node("MatMul", f32, shape, []val{x, g.floats(k, 3)})
		case 1:
			if len(x.shape) < 2 {
				return
			}
			k := positives(x.shape[len(x.shape)-2:])[0]
			shape := slices.Clone(x.shape)
			shape[len(shape)-2] = 3
			g.node("MatMul", f32, shape, []val{g.floats(3, k), x})
		default:
			g.node("MatMul", f32, nil, []val{x, g.partner(x)})
		}
	}
	all["FusedMatMul"] = func(g *gen) { // what the optimiser makes of it
		x, y := g.pick(f32, 3), g.pick(f32, 3)
		n := len(y.shape)
		perm := make([]int64, n)
		for i := range perm {
			perm[i] = int64(i)
		}
		perm[n-1], perm[n-2] = perm[n-2], perm[n-1]
		if g.IntN(4) == 0 {
			perm = []int64{1, 2, 0, 3}[:n]
		}
		y = g.node("Transpose", f32, slices.Clone(y.shape), []val{x}, attribute{"perm", perm})
		z := g.node("MatMul", f32, nil, []val{x, y})
		g.node("Mul", f32, nil, []val{z, g.float(0.5)})
	}
	all["Gemm"] = func(g *gen) {
		x := g.pick(f32, 2)
		ta := g.Int64N(2)
		if g.IntN(2) == 0 {
			ta = 0
		}
		in := []val{x, g.floats(positives(x.shape[1-ta : 2-ta])[0], 3)}
		switch g.IntN(4) {
		case 0:
			in = append(in, g.floats(3))
		case 1:
			in = append(in, g.floats(1+g.Int64N(2), 3))
		case 2:
			in = append(in, g.pick(f32, 0))
		}
		g.node("Gemm", f32, []int64{rowsDim, 3}, in, int2("transA", ta))
	}
	all["MatMulInteger"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.pick(i64, 2)}, int2("to", 2))
		g.node("MatMulInteger", infer.Int32, nil, []val{x, g.weight(g.tensor(infer.Uint8, []int64{1 + g.Int64N(3), 3}))})
	}
	all["QLinearMatMul"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.pick(i64, 2)}, int2("to", 2))
		scale, zero := g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))
		g.node("QLinearMatMul", infer.Uint8, nil, []val{x, scale, zero, g.weight(g.tensor(infer.Uint8, []int64{1 + g.Int64N(3), 3})), scale, zero, scale, zero})
	}
	all["Conv"] = func(g *gen) {
		x := g.images(2, 4, 4)
		y := g.node("Conv", f32, []int64{rowsDim, 3, otherDim, otherDim}, []val{x, g.floats(3, 2, 2, 2), g.floats(3)}, attribute{"pads", []int64{0, 1, 0, 1}})
		if g.IntN(2) == 0 {
			g.node("Relu", f32, y.shape, []val{y})
		}
	}
	// Of as many channels as blocks have: the optimiser's own layout.
	all["Conv in blocks"] = func(g *gen) {
		x := g.images(16, 4, 4)
		y := g.node("Conv", f32, nil, []val{x, g.floats(32, 16, 3, 3)}, attribute{"pads", []int64{1, 1, 1, 1}})
		for range 3 {
			switch g.IntN(6) {
			case 0:
				y = g.node("Relu", f32, nil, []val{y})
			case 1:
				y = g.node("MaxPool", f32, nil, []val{y}, attribute{"kernel_shape", []int64{1, 1}})
			case 2:
				y = g.node("AveragePool", f32, nil, []val{y}, attribute{"kernel_shape", []int64{1, 1}})
			case 3:
				z := g.node("Conv", f32, nil, []val{y, g.floats(32, 32, 1, 1)})
				y = g.node("Add", f32, nil, []val{z, y})
			case 4:
				y = g.node("Upsample by Resize", f32, nil, []val{y})
			default:
				y = g.node("Conv", f32, nil, []val{y, g.floats(32, 32, 1, 1)})
			}
			if n := &g.m.nodes[len(g.m.nodes)-1]; n.op == "Upsample by Resize" {
				n.op = "Resize"
				n.inputs = append(n.inputs, "", g.weight(scales(1, 1, 2, 2)).name)
				n.attributes = []attribute{{"mode", []string{"nearest", "linear"}[g.IntN(2)]}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}}
			}
		}
		if op := g.IntN(3); op < 2 {
			g.node([]string{"GlobalAveragePool", "GlobalMaxPool"}[op], f32, nil, []val{y})
		}
	}
	all["ConvTranspose"] = func(g *gen) {
		g.node("ConvTranspose", f32, []int64{rowsDim, 3, otherDim, otherDim}, []val{g.images(2, 3, 3), g.floats(2, 3, 2, 2)})
	}
	all["ConvInteger"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.images(1, 3, 3)}, int2("to", 2))
		g.node("ConvInteger", infer.Int32, nil, []val{x, g.weight(g.tensor(infer.Uint8, []int64{1, 1, 2, 2}))})
	}
	all["QLinearConv"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.images(1, 3, 3)}, int2("to", 2))
		scale, zero := g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))
		g.node("QLinearConv", infer.Uint8, nil, []val{x, scale, zero, g.weight(g.tensor(infer.Uint8, []int64{1, 1, 2, 2})), scale, zero, scale, zero})
	}
	for _, op := range []string{"MaxPool", "AveragePool", "LpPool"} {
		all[op] = func(g *gen) {
			g.node(op, f32, []int64{rowsDim, 2, otherDim, otherDim}, []val{g.images(2, 4, 4)}, g.window()...)
			if op == "MaxPool" && g.IntN(3) == 0 {
				g.more(i64)
			}
		}
	}
	for _, op := range []string{"GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"} {
		all[op] = func(g *gen) {
			g.node(op, f32, []int64{rowsDim, 2, 1, 1}, []val{g.images(2, 3, 3)})
		}
	}
	all["Resize"] = func(g *gen) {
		x := g.images([]int64{2, 3, 3, 2}[:1+g.IntN(4)]...)
		rank := len(x.shape)
		list := []float32{[]float32{1, 1, 1, 2}[g.IntN(4)]}
		for i := range rank - 1 {
			s := []float32{1, 2, 0.5}[g.IntN(3)]
			if i == 0 && rank >= 4 && g.IntN(4) > 0 {
				s = 1
			}
			list = append(list, s)
		}
		attributes := []attribute{{"mode", []string{"nearest", "linear", "cubic"}[g.IntN(3)]}}
		attributes = append(attributes, attribute{"coordinate_transformation_mode", []string{"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"}[g.IntN(5)]})
		attributes = append(attributes, attribute{"nearest_mode", []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}[g.IntN(4)]})
		if g.IntN(4) == 0 {
			attributes = append(attributes, int2("antialias", 1))
		}
		if g.IntN(4) == 0 && rank > 2 { // of the axes behind the rows and channels
			to := g.weight(scales(list[2:]...))
			axes := []int64{2, 3, 4}[:rank-2]
			g.node("Resize", f32, slices.Repeat([]int64{otherDim}, rank), []val{x, {}, to}, append(attributes, attribute{"axes", axes})...)
			return
		}
		if g.IntN(2) == 0 && rank > 2 {
			more := []int64{5, 2, 3}[:rank-2]
			to := g.node("Concat", i64, []int64{int64(rank)}, []val{g.node("Shape", i64, []int64{2}, []val{x}, int2("start", 0), int2("end", 2)), g.ints(more...)}, int2("axis", 0))
			g.node("Resize", f32, slices.Concat(x.shape[:2], more), []val{x, {}, {}, to}, attributes...)
			return
		}
		g.node("Resize", f32, slices.Repeat([]int64{otherDim}, rank), []val{x, {}, g.weight(scales(list...))}, attributes...)
	}
	all["Upsample"] = func(g *gen) { // as it was before Resize
		g.m.opset = 9 + g.Int64N(2)
		op := []string{"Upsample", "Resize"}[g.m.opset-9]
		list := []float32{1, 1, 2, 2, 2}
		x := g.images([]int64{2, 3, 3, 2}[:1+g.IntN(4)]...)
		if g.IntN(2) == 0 {
			list = []float32{1, 2, 2, 2, 2}
		}
		g.node(op, f32, slices.Repeat([]int64{otherDim}, len(x.shape)), []val{x, g.weight(scales(list[:len(x.shape)]...))}, attribute{"mode", []string{"nearest", "linear"}[g.IntN(2)]})
	}
	all["GridSample"] = func(g *gen) {
		g.node("GridSample", f32, []int64{rowsDim, 2, 2, 2}, []val{g.images(2, 3, 3), g.images(2, 2, 2)},
			attribute{"mode", []string{"linear", "nearest", "cubic"}[g.IntN(3)]}, attribute{"padding_mode", []string{"zeros", "border", "reflection"}[g.IntN(3)]}, int2("align_corners", g.Int64N(2)))
	}
	for op, gates := range map[string]int64{"GRU": 3, "LSTM": 4, "RNN": 1} {
		all[op] = func(g *gen) {
			x := g.images(3, 2)
			if g.IntN(4) > 0 { // time first
				x = g.node("Transpose", f32, []int64{3, rowsDim, 2}, []val{x}, attribute{"perm", []int64{1, 0, 2}})
			}
			directions, direction := int64(1), []string{"forward", "reverse", "bidirectional"}[g.IntN(3)]
			if direction == "bidirectional" {
				directions = 2
			}
			in := []val{x, g.floats(directions, 4*gates, 2), g.floats(directions, 4*gates, 4), {}, {}, {}}
			switch g.IntN(4) {
			case 0:
				lengths := g.node("ReduceMax", i64, []int64{rowsDim}, []val{g.pick(i64, 2), g.ints(1)}, int2("keepdims", 0))
				in[4] = g.node("Cast", infer.Int32, lengths.shape, []val{lengths}, int2("to", 6))
			case 1:
				in[5] = g.floats(directions, 1+g.Int64N(2), 4)
			case 2: // zeros, as many as there are rows
				s := g.node("Shape", i64, []int64{1}, []val{x}, int2("start", 1), int2("end", 2))
				s = g.node("Concat", i64, []int64{3}, []val{g.ints(directions), s, g.ints(4)}, int2("axis", 0))
				in[5] = g.node("ConstantOfShape", f32, []int64{directions, rowsDim, 4}, []val{s})
			}
			g.node(op, f32, []int64{3, directions, rowsDim, 4}, in, int2("hidden_size", 4), attribute{"direction", direction})
			g.more(f32)
		}
	}
	all["Einsum"] = func(g *gen) {
		x := g.pick(f32, 2)
		if len(x.shape) > 4 {
			return
		}
		letters := "abcd"[:len(x.shape)]
		y, out := g.partner(x), letters
		other := "abcde"[len(letters)-min(len(y.shape), len(letters)) : len(letters)]
		if g.IntN(2) == 0 {
			out = letters[:1+g.IntN(len(letters))]
		}
		if g.IntN(3) == 0 {
			other = "efgh"[:len(y.shape)]
			out = letters + other
		}
		g.node("Einsum", f32, nil, []val{x, y}, attribute{"equation", letters + "," + other + "->" + out})
	}
	return all
}

func scales(list ...float32) infer.Tensor {
	g := newGen(0)
	var t infer.Tensor
	for _, f := range list {
		t.Data = append(t.Data, g.tensorOf(f)...)
	}
	t.DataType, t.Shape = f32, []int64{int64(len(list))}
	return t
}

func (g *gen) tensorOf(f float32) []byte {
	g.float(f, 1)
	return g.m.weights[len(g.m.weights)-1].Data
}

// matrix is rows of n floats.
func (g *gen) matrix(n int64) val {
	if g.IntN(6) == 0 {
		return g.pick(f32, 1)
	}
	return g.images(n)
}

func learnedSnippets() map[string]snippet {
	const ml = "ai.onnx.ml"
	all := map[string]snippet{}
	put := func(op string, attributes func(g *gen) []attribute, more ...infer.DataType) {
		all[op] = func(g *gen) {
			kind := f32
			if len(more) > 0 {
				kind = i64
			}
			g.of(ml, op, kind, []int64{rowsDim, otherDim}[:2-len(more)], []val{g.matrix(3)}, attributes(g)...)
			if len(more) > 0 {
				g.more(f32)
			}
		}
	}
	tree := func(leaf string) []attribute {
		return []attribute{
			{"nodes_treeids", []int64{0, 0, 0}},
			{"nodes_nodeids", []int64{0, 1, 2}},
			{"nodes_featureids", []int64{0, 0, 0}},
			{"nodes_modes", []string{"BRANCH_LEQ", "LEAF", "LEAF"}},
			{"nodes_values", []float32{0.1, 0, 0}},
			{"nodes_truenodeids", []int64{1, 0, 0}},
			{"nodes_falsenodeids", []int64{2, 0, 0}},
			{leaf + "_treeids", []int64{0, 0}},
			{leaf + "_nodeids", []int64{1, 2}},
			{leaf + "_ids", []int64{0, 1}},
			{leaf + "_weights", []float32{0.75, 0.5}},
		}
	}
	put("TreeEnsembleClassifier", func(g *gen) []attribute {
		return append(tree("class"), attribute{"classlabels_int64s", []int64{7, 8, 9}[:2+g.IntN(2)]}, attribute{"post_transform", []string{"NONE", "SOFTMAX"}[g.IntN(2)]})
	}, f32)
	put("TreeEnsembleRegressor", func(g *gen) []attribute { return append(tree("target"), int2("n_targets", 2)) })
	put("TreeEnsemble", func(g *gen) []attribute {
		return []attribute{
			int2("n_targets", 2),
			{"tree_roots", []int64{0}},
			{"nodes_modes", bytesOf(byte(g.IntN(4)))},
			{"nodes_featureids", []int64{0}},
			{"nodes_splits", g.tensor(f32, []int64{1})},
			{"nodes_truenodeids", []int64{0}},
			{"nodes_trueleafs", []int64{1}},
			{"nodes_falsenodeids", []int64{1}},
			{"nodes_falseleafs", []int64{1}},
			{"leaf_targetids", []int64{0, 1}},
			{"leaf_weights", g.tensor(f32, []int64{2})},
		}
	})
	put("LinearClassifier", func(g *gen) []attribute {
		return []attribute{{"coefficients", []float32{1, 2, 3, -1, -2, -3}}, {"intercepts", []float32{0, 1}}, {"classlabels_ints", []int64{3, 4}}, {"post_transform", []string{"SOFTMAX", "LOGISTIC", "NONE"}[g.IntN(3)]}}
	}, f32)
	put("LinearRegressor", func(g *gen) []attribute {
		return []attribute{{"coefficients", []float32{1, 2, 3}}, {"intercepts", []float32{1}}}
	})
	put("SVMRegressor", func(g *gen) []attribute {
		return []attribute{{"coefficients", []float32{1, -1}}, {"support_vectors", []float32{1, 2, 3, 3, 2, 1}}, {"rho", []float32{0.5}}, int2("n_supports", 2), {"kernel_type", "RBF"}, {"kernel_params", []float32{0.5, 0, 3}}}
	})
	put("SVMClassifier", func(g *gen) []attribute {
		return []attribute{{"coefficients", []float32{1, -1}}, {"support_vectors", []float32{1, 2, 3, 3, 2, 1}}, {"rho", []float32{0.5}}, {"vectors_per_class", []int64{1, 1}}, {"classlabels_ints", []int64{3, 4}}, {"kernel_type", "RBF"}, {"kernel_params", []float32{0.5, 0, 3}}}
	}, f32)
	put("Scaler", func(g *gen) []attribute {
		return []attribute{{"offset", []float32{1, 2, 3}}, {"scale", []float32{2, 2, 2}}}
	})
	put("Imputer", func(g *gen) []attribute {
		return []attribute{{"imputed_value_floats", []float32{5, 6, 7}}, {"replaced_value_float", float32(1)}}
	})
	put("Normalizer", func(g *gen) []attribute { return []attribute{{"norm", []string{"L1", "L2", "MAX"}[g.IntN(3)]}} })
	put("Binarizer", func(g *gen) []attribute { return []attribute{{"threshold", float32(0.2)}} })
	all["CategoryMapper"] = func(g *gen) {
		ids := g.pick(i64, 1)
		g.of(ml, "CategoryMapper", infer.Bytes, ids.shape, []val{ids}, attribute{"cats_int64s", []int64{1, 2}}, attribute{"cats_strings", []string{"p", "q"}})
	}
	all["LabelEncoder"] = func(g *gen) {
		ids := g.pick(i64, 1)
		g.of(ml, "LabelEncoder", f32, ids.shape, []val{ids}, attribute{"keys_int64s", []int64{1, 2}}, attribute{"values_floats", []float32{5, 6}})
	}
	all["OneHotEncoder"] = func(g *gen) {
		ids := g.pick(i64, 1)
		g.of(ml, "OneHotEncoder", f32, append(slices.Clone(ids.shape), 4), []val{ids}, attribute{"cats_int64s", []int64{0, 1, 2, 3}})
	}
	all["FeatureVectorizer"] = func(g *gen) {
		g.of(ml, "FeatureVectorizer", f32, []int64{rowsDim, 5}, []val{g.matrix(3), g.matrix(2)}, attribute{"inputdimensions", []int64{3, 2}})
	}
	all["ArrayFeatureExtractor"] = func(g *gen) {
		if g.IntN(2) == 0 {
			g.of(ml, "ArrayFeatureExtractor", f32, []int64{rowsDim, 2}, []val{g.pick(f32, 1), g.ints(0, 0)})
			return
		}
		ids := g.pick(i64, 1)
		table := g.floats([]int64{4, 4}[:1+g.IntN(2)]...)
		out := g.of(ml, "ArrayFeatureExtractor", f32, []int64{1, otherDim}, []val{table, ids})
		if len(table.shape) == 1 {
			g.node("Reshape", f32, []int64{otherDim}, []val{out, g.ints(-1)})
		}
	}
	all["TfIdfVectorizer"] = func(g *gen) {
		ids := g.pick(i64, 1)
		g.node("TfIdfVectorizer", f32, []int64{rowsDim, 3}, []val{ids}, attribute{"mode", "TF"}, int2("max_gram_length", 2), int2("min_gram_length", 1), int2("max_skip_count", 1),
			attribute{"ngram_counts", []int64{0, 2}}, attribute{"ngram_indexes", []int64{0, 1, 2}}, attribute{"pool_int64s", []int64{1, 2, 1, 2}})
	}
	return all
}

// wordSnippets are of texts, of which some have no word.
func wordSnippets() map[string]snippet {
	words := func(g *gen, pool ...string) {
		g.input("texts", infer.Bytes, []int64{rowsDim, 1})
		x := g.node("Reshape", infer.Bytes, []int64{rowsDim}, []val{g.values[len(g.values)-1], g.ints(-1)})
		x = g.node("StringNormalizer", infer.Bytes, []int64{rowsDim}, []val{x}, attribute{"case_change_action", "LOWER"}, attribute{"locale", "C"})
		x = g.of("com.microsoft", "Tokenizer", infer.Bytes, []int64{rowsDim, otherDim}, []val{x},
			attribute{"tokenexp", "[a-z]+"}, attribute{"pad_value", "#"}, int2("mincharnum", 1), int2("mark", 0))
		x = g.node("Flatten", infer.Bytes, x.shape, []val{x}, int2("axis", 1))
		g.node("TfIdfVectorizer", f32, []int64{rowsDim, 3}, []val{x}, attribute{"mode", "TF"}, int2("max_gram_length", 2), int2("min_gram_length", 1), int2("max_skip_count", g.Int64N(2)),
			attribute{"ngram_counts", []int64{0, 2}}, attribute{"ngram_indexes", []int64{0, 1, 2}}, attribute{"pool_strings", pool})
	}
	return map[string]snippet{
		"Tokenizer": func(g *gen) { words(g, "a", "cat", "a", "cat") },
		"StringConcat": func(g *gen) {
			g.input("texts", infer.Bytes, []int64{rowsDim, 2})
			x := g.values[len(g.values)-1]
			g.node("StringConcat", infer.Bytes, nil, []val{x, g.partner(x)})
		},
		"RegexFullMatch": func(g *gen) {
			g.input("texts", infer.Bytes, []int64{rowsDim, 2})
			g.node("RegexFullMatch", b1, []int64{rowsDim, 2}, []val{g.values[len(g.values)-1]}, attribute{"pattern", ".*cat"})
		},
		"Tokenizer's pad count": func(g *gen) { words(g, "a", "#", "a", "#") },
		"StringNormalizer": func(g *gen) {
			g.input("texts", infer.Bytes, []int64{rowsDim})
			x := g.values[len(g.values)-1]
			attributes := []attribute{{"case_change_action", "UPPER"}, {"locale", "C"}}
			if g.IntN(2) == 0 {
				attributes = append(attributes, attribute{"stopwords", []string{"a"}})
			}
			g.node("StringNormalizer", infer.Bytes, x.shape, []val{x}, attributes...)
		},
	}
}

func contribSnippets() map[string]snippet {
	const ms = "com.microsoft"
	all := map[string]snippet{}
	for _, op := range strings.Fields("Gelu QuickGelu") {
		all[ms+"."+op] = func(g *gen) {
			x := g.pick(f32, 1)
			g.of(ms, op, f32, x.shape, []val{x})
		}
	}
	for _, op := range strings.Fields("BiasGelu FastGelu") {
		all[op] = func(g *gen) {
			x := g.pick(f32, 1)
			g.of(ms, op, f32, x.shape, []val{x, g.floats(positives(x.shape[len(x.shape)-1:])...)})
		}
	}
	for _, op := range strings.Fields("SkipLayerNormalization SkipSimplifiedLayerNormalization") {
		all[op] = func(g *gen) {
			x := g.pick(f32, 2)
			width := positives(x.shape[len(x.shape)-1:])
			in := []val{x, g.partner(x), g.floats(width...)}
			if op == "SkipLayerNormalization" {
				in = append(in, g.floats(width...))
			}
			g.of(ms, op, f32, x.shape, in)
		}
	}
	all["FusedMatMul itself"] = func(g *gen) {
		x := g.pick(f32, 2)
		g.of(ms, "FusedMatMul", f32, nil, []val{x, g.partner(x)}, int2("transA", g.Int64N(2)), int2("transB", g.Int64N(2)), int2("transBatchA", g.Int64N(8)/7))
	}
	all["FusedGemm"] = func(g *gen) {
		g.of(ms, "FusedGemm", f32, []int64{rowsDim, 2}, []val{g.matrix(3), g.floats(3, 2), g.floats(2)}, attribute{"activation", "Relu"})
	}
	all["FusedConv"] = func(g *gen) {
		g.of(ms, "FusedConv", f32, []int64{rowsDim, 3, 3, 3}, []val{g.images(2, 3, 3), g.floats(3, 2, 1, 1), g.floats(3), g.images(3, 3, 3)}, attribute{"activation", "Relu"})
	}
	all["EmbedLayerNormalization"] = func(g *gen) {
		ids := g.node("Cast", infer.Int32, []int64{rowsDim, otherDim}, []val{g.pick(i64, 2)}, int2("to", 6))
		in := []val{ids, {}, g.floats(4, 4), g.floats(4, 4), {}, g.floats(4), g.floats(4)}
		if g.IntN(2) == 0 {
			in = append(in, ids)
		}
		g.of(ms, "EmbedLayerNormalization", f32, []int64{rowsDim, otherDim, 4}, in)
		g.more(infer.Int32)
	}
	all["Attention"] = func(g *gen) {
		in := []val{g.images(3, 4), g.floats(4, 12), g.floats(12)}
		if g.IntN(2) == 0 {
			in = append(in, g.mask())
		}
		g.of(ms, "Attention", f32, []int64{rowsDim, 3, 4}, in, int2("num_heads", 2), int2("unidirectional", g.Int64N(2)))
	}
	all["MultiHeadAttention"] = func(g *gen) {
		in := []val{g.images(3, 4), g.images(3, 4), g.images(3, 4), g.floats(12)}
		if g.IntN(2) == 0 {
			in = append(in, g.mask())
		}
		g.of(ms, "MultiHeadAttention", f32, []int64{rowsDim, 3, 4}, in, int2("num_heads", 2))
	}
	for _, op := range []string{"QLinearAdd", "QLinearMul"} {
		all[op] = func(g *gen) {
			x := g.node("Cast", infer.Uint8, nil, []val{g.pick(f32, 1)}, int2("to", 2))
			scale, zero := g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))
			y := []val{x, g.weight(g.tensor(infer.Uint8, []int64{1 + g.Int64N(2), 1}))}[g.IntN(2)]
			g.of(ms, op, infer.Uint8, nil, []val{x, scale, zero, y, scale, zero, scale, zero})
		}
	}
	for _, op := range []string{"QLinearSigmoid", "QLinearLeakyRelu"} {
		all[op] = func(g *gen) {
			x := g.node("Cast", infer.Uint8, nil, []val{g.pick(f32, 1)}, int2("to", 2))
			scale, zero := g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))
			g.of(ms, op, infer.Uint8, nil, []val{x, scale, zero, scale, zero})
		}
	}
	all["CDist"] = func(g *gen) {
		g.of(ms, "CDist", f32, []int64{rowsDim, 5}, []val{g.matrix(3), g.floats(5, 3)}, attribute{"metric", []string{"euclidean", "sqeuclidean"}[g.IntN(2)]})
	}
	all["MatMulIntegerToFloat"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.pick(i64, 2)}, int2("to", 2))
		g.of(ms, "MatMulIntegerToFloat", f32, nil, []val{x, g.weight(g.tensor(infer.Uint8, []int64{1 + g.Int64N(3), 3})), g.float(0.1), g.float(0.2)})
	}
	return all
}

// mask is how many there are of each row, or which.
func (g *gen) mask() val {
	ids := g.pick(i64, 2)
	if g.IntN(2) == 0 {
		ids = g.node("ReduceMax", i64, []int64{rowsDim}, []val{ids, g.ints(1)}, int2("keepdims", 0))
	}
	return g.node("Cast", infer.Int32, ids.shape, []val{ids}, int2("to", 6))
}
