package rows

// rule finds what is known of an operator's outputs. It returns nil after it has
// refused.
type rule func(c *call) []value

// operator names one of a domain; "" is ai.onnx.
type operator struct{ domain, name string }

// entry is an operator of the allow-list: which versions of it, and which
// attributes, its rule covers.
type entry struct {
	rule       rule
	attributes string
	since      int // the first version

	// padded is whether the rule covers values of that kind too.
	padded bool
}

// The domains of ONNX Runtime's own operators.
const (
	contrib = "com.microsoft"
	blocked = "com.microsoft.nchwc"
	learned = "ai.onnx.ml"
)

// last is the last version of a domain's operators whose meaning the rules
// follow: what comes later may mean something else.
func (e entry) last(domain string) int {
	switch domain {
	case "":
		return 25
	case learned:
		return 5
	}
	return 1
}

// rules is the allow-list.
func rules() map[operator]entry {
	table := make(map[operator]entry, 300)
	put := func(domain string, e entry, names ...string) {
		for _, name := range names {
			table[operator{domain, name}] = e
		}
	}
	elementRules(put)
	shapeRules(put)
	kernelRules(put)
	normRules(put)
	learnedRules(put)
	wordRules(put)
	contribRules(put)
	return table
}

type putter func(domain string, e entry, names ...string)

// elementRules are of operators that work element by element.
func elementRules(put putter) {
	put("", entry{rule: single(nil)},
		"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor",
		"IsNaN", "Log", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
		"Sqrt", "Tan", "Tanh")
	put("", entry{rule: single(keep)}, "Identity")
	put("", entry{rule: single(magnitude)}, "Abs")
	put("", entry{rule: single(negate)}, "Neg")
	put("", entry{rule: single(not)}, "Not")
	put("", entry{rule: single(nil), attributes: "alpha"}, "Celu", "Elu", "LeakyRelu", "ThresholdedRelu")
	put("", entry{rule: single(nil), attributes: "alpha beta"}, "HardSigmoid")
	put("", entry{rule: single(nil), attributes: "alpha gamma"}, "Selu")
	put("", entry{rule: single(nil), attributes: "bias lambd"}, "Shrink")
	put("", entry{rule: single(nil), attributes: "approximate"}, "Gelu")
	put("", entry{rule: single(nil), attributes: "detect_negative detect_positive"}, "IsInf")
	put("", entry{rule: cast, attributes: "to saturate round_mode"}, "Cast")
	put("", entry{rule: clip, attributes: "min max", since: 6}, "Clip")
	put("", entry{rule: dropout, attributes: "ratio seed", since: 7}, "Dropout")
	put("", entry{rule: quantize, attributes: "axis block_size saturate output_dtype precision"}, "QuantizeLinear", "DequantizeLinear")

	for name, f := range map[string]scalar{
		"Add": wholes(add), "Sub": wholes(sub), "Mul": wholes(mul), "Div": wholes(div),
		"Equal": truth(equal), "Less": truth(below), "GreaterOrEqual": truth(notBelow),
		"Greater":     truth(func(s *symbols, a, b mono) (bool, bool) { return below(s, b, a) }),
		"LessOrEqual": truth(func(s *symbols, a, b mono) (bool, bool) { return notBelow(s, b, a) }),
		"And":         logic(func(a, b bool) bool { return a && b }),
		"Or":          logic(func(a, b bool) bool { return a || b }),
		"Xor":         logic(func(a, b bool) bool { return a != b }),
	} {
		put("", entry{rule: pair(f), since: 7}, name)
	}
	put("", entry{rule: pair(wholes(mod)), attributes: "fmod"}, "Mod")
	put("", entry{rule: pair(nil), since: 7}, "Pow", "PRelu", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
	put("", entry{rule: pair(nil), attributes: "direction"}, "BitShift")
	put("", entry{rule: variadic(folded(wholes(lesser))), since: 8}, "Min")
	put("", entry{rule: variadic(folded(wholes(greater))), since: 8}, "Max")
	put("", entry{rule: variadic(nil), since: 8}, "Mean", "Sum")
	put("", entry{rule: where, since: 9}, "Where")
}

// shapeRules are of operators that move elements, and of shape arithmetic.
func shapeRules(put putter) {
	put("", entry{rule: reshape, attributes: "allowzero", since: 5}, "Reshape")
	put("", entry{rule: flatten, attributes: "axis", padded: true}, "Flatten")
	put("", entry{rule: squeeze, attributes: "axes"}, "Squeeze")
	put("", entry{rule: unsqueeze, attributes: "axes"}, "Unsqueeze")
	put("", entry{rule: transpose, attributes: "perm"}, "Transpose")
	put("", entry{rule: shapeOf, attributes: "start end"}, "Shape")
	put("", entry{rule: sizeOf}, "Size")
	put("", entry{rule: expand, since: 8}, "Expand")
	put("", entry{rule: tile, since: 6}, "Tile")
	put("", entry{rule: constantOfShape, attributes: "value", since: 9}, "ConstantOfShape")
	put("", entry{rule: sequence}, "Range")
	put("", entry{rule: slice, attributes: "starts ends axes"}, "Slice")
	put("", entry{rule: concat, attributes: "axis", since: 4}, "Concat")
	put("", entry{rule: split, attributes: "axis split num_outputs", since: 2}, "Split")
	put("", entry{rule: gather, attributes: "axis"}, "Gather")
	put("", entry{rule: gatherElements, attributes: "axis", since: 11}, "GatherElements")
	put("", entry{rule: gatherND, attributes: "batch_dims", since: 11}, "GatherND")
	put("", entry{rule: scatterElements, attributes: "axis reduction", since: 11}, "ScatterElements")
	put("", entry{rule: pad, attributes: "mode pads value", since: 2}, "Pad")
	put("", entry{rule: blocks, attributes: "blocksize mode"}, "DepthToSpace", "SpaceToDepth")
	put("", entry{rule: onlySame("finds elements in the tensor of all rows")}, "NonZero")
	put("", entry{rule: branch, attributes: "then_branch else_branch"}, "If")
}

// kernelRules are of operators that multiply and slide.
func kernelRules(put putter) {
	const window = "auto_pad dilations group kernel_shape pads strides"
	put("", entry{rule: matMul}, "MatMul")
	put("", entry{rule: gemm, attributes: "alpha beta transA transB", since: 7}, "Gemm")
	put("", entry{rule: matMulInteger}, "MatMulInteger")
	put("", entry{rule: qLinearMatMul}, "QLinearMatMul")
	put("", entry{rule: conv, attributes: window}, "Conv")
	put("", entry{rule: convTranspose, attributes: window + " output_padding output_shape"}, "ConvTranspose")
	put("", entry{rule: convInteger, attributes: window}, "ConvInteger")
	put("", entry{rule: qLinearConv, attributes: window}, "QLinearConv")
	put("", entry{rule: pool, attributes: window + " ceil_mode count_include_pad p storage_order"}, "MaxPool", "AveragePool", "LpPool")
	put("", entry{rule: globalPool, attributes: "p"}, "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
	put("", entry{rule: resize, attributes: "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value keep_aspect_ratio_policy mode nearest_mode"}, "Resize")
	put("", entry{rule: resize, attributes: "mode scales"}, "Upsample")
	put("", entry{rule: gridSample, attributes: "align_corners mode padding_mode"}, "GridSample")
	const recurrent = "activation_alpha activation_beta activations clip direction hidden_size layout"
	put("", entry{rule: recur, attributes: recurrent + " linear_before_reset", since: 7}, "GRU")
	put("", entry{rule: recur, attributes: recurrent + " input_forget", since: 7}, "LSTM")
	put("", entry{rule: recur, attributes: recurrent, since: 7}, "RNN")
	put("", entry{rule: einsum, attributes: "equation"}, "Einsum")
	put("", entry{rule: stft, attributes: "onesided"}, "STFT")
	put("", entry{rule: dft, attributes: "axis inverse onesided"}, "DFT")
	put("", entry{rule: reverse, attributes: "batch_axis time_axis"}, "ReverseSequence")
}

// normRules are of operators that work along axes.
func normRules(put putter) {
	put("", entry{rule: softmax, attributes: "axis"}, "Softmax", "LogSoftmax", "Hardmax")
	put("", entry{rule: layerNorm, attributes: "axis epsilon stash_type"}, "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
	put("", entry{rule: channelNorm, attributes: "epsilon", since: 6}, "InstanceNormalization")
	put("", entry{rule: channelNorm, attributes: "alpha beta bias size"}, "LRN")
	put("", entry{rule: batchNorm, attributes: "epsilon momentum spatial training_mode", since: 7}, "BatchNormalization")
	put("", entry{rule: meanVariance, attributes: "axes"}, "MeanVarianceNormalization")
	put("", entry{rule: alongAxis(-1, 1), attributes: "axis p"}, "LpNormalization")
	put("", entry{rule: cumSum, attributes: "exclusive reverse"}, "CumSum")
	put("", entry{rule: topK, attributes: "axis k largest sorted"}, "TopK")
	const over = "axes keepdims noop_with_empty_axes"
	put("", entry{rule: reduce(13), attributes: over}, "ReduceSum")
	put("", entry{rule: reduceProduct, attributes: over}, "ReduceProd")
	put("", entry{rule: reduce(18), attributes: over},
		"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSumSquare")
	put("", entry{rule: argOf, attributes: "axis keepdims select_last_index"}, "ArgMax", "ArgMin")
	put("", entry{rule: oneHot, attributes: "axis", since: 9}, "OneHot")
	put("", entry{rule: matrixwise(2), attributes: "upper"}, "Trilu")
}

// whyNot is the reason for operators that have no rule, and for the best known that never
// will, why.
func whyNot(id operator) string {
	switch id.name {
	case "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM":
		return "takes one scale over all rows"
	case "Loop", "Scan", "SequenceMap":
		return "runs a graph in a loop, which is not followed"
	case "Unique", "NonMaxSuppression", "Compress":
		return "gives more or fewer elements by what they are"
	case "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli":
		return "is random"
	case "MaxUnpool", "MaxRoiPool", "RoiAlign", "ScatterND", "TensorScatter":
		return "takes places in the tensor of all rows"
	case "StringSplit":
		return "gives as many columns as the longest of all rows has"
	case "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SplitToSequence", "ConcatFromSequence", "ZipMap":
		return "makes or takes a sequence, which is not followed"
	}
	return "is an operator that no rule covers"
}
