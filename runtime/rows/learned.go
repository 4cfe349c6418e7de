package rows

import "slices"

// learnedRules are of ai.onnx.ml: what scikit-learn and gradient boosting are
// exported to. On one axis, most of them take all there is for one row.
func learnedRules(put putter) {
	const (
		nodes = "nodes_falsenodeids nodes_featureids nodes_hitrates nodes_hitrates_as_tensor nodes_missing_value_tracks_true " +
			"nodes_modes nodes_nodeids nodes_treeids nodes_truenodeids nodes_values nodes_values_as_tensor " +
			"base_values base_values_as_tensor post_transform "
		classes = "classlabels_int64s classlabels_strings classlabels_ints "
		support = "coefficients kernel_params kernel_type post_transform rho support_vectors "
	)
	put(learned, entry{rule: perRow(labels, scores), attributes: nodes + classes + "class_ids class_nodeids class_treeids class_weights class_weights_as_tensor"}, "TreeEnsembleClassifier")
	put(learned, entry{rule: perRow(scores), attributes: nodes + "aggregate_function n_targets target_ids target_nodeids target_treeids target_weights target_weights_as_tensor"}, "TreeEnsembleRegressor")
	put(learned, entry{rule: perRow(scores), attributes: "aggregate_function leaf_targetids leaf_weights membership_values n_targets nodes_falseleafs nodes_falsenodeids nodes_featureids nodes_hitrates nodes_missing_value_tracks_true nodes_modes nodes_splits nodes_trueleafs nodes_truenodeids post_transform tree_roots", since: 5}, "TreeEnsemble")
	put(learned, entry{rule: perRow(labels, scores), attributes: classes + "coefficients intercepts multi_class post_transform"}, "LinearClassifier")
	put(learned, entry{rule: perRow(scores), attributes: "coefficients intercepts post_transform targets"}, "LinearRegressor")
	put(learned, entry{rule: perRow(labels, scores), attributes: classes + support + "prob_a prob_b vectors_per_class"}, "SVMClassifier")
	put(learned, entry{rule: perRow(scores), attributes: support + "n_supports one_class"}, "SVMRegressor")
	put(learned, entry{rule: perRow(asInput), attributes: "offset scale"}, "Scaler")
	put(learned, entry{rule: perRow(asInput), attributes: "imputed_value_floats imputed_value_int64s replaced_value_float replaced_value_int64"}, "Imputer")
	put(learned, entry{rule: perRow(asInput), attributes: "norm"}, "Normalizer")
	put(learned, entry{rule: perRow(asInput), attributes: "threshold"}, "Binarizer")
	put(learned, entry{rule: single(nil), attributes: "cats_int64s cats_strings default_int64 default_string"}, "CategoryMapper")
	put(learned, entry{rule: single(nil), attributes: "default_float default_int64 default_string default_tensor keys_floats keys_int64s keys_strings keys_tensor values_floats values_int64s values_strings values_tensor"}, "LabelEncoder")
	put(learned, entry{rule: oneHotEncoder, attributes: "cats_int64s cats_strings zeros"}, "OneHotEncoder")
	put(learned, entry{rule: featureVectorizer, attributes: "inputdimensions"}, "FeatureVectorizer")
	put(learned, entry{rule: arrayFeatures}, "ArrayFeatureExtractor")
}

// The shapes of what perRow gives, of [rows, features].
const (
	asInput = iota // [rows, features]
	labels         // [rows]
	scores         // [rows, some]
)

// perRow works on each row of a matrix. Its outputs are of the shapes.
func perRow(shapes ...int) rule {
	return func(c *call) []value {
		if !c.need(1, 1) || c.counted() {
			return nil
		}
		x := c.in[0]
		if x.kind == same {
			return c.sames(len(c.n.Outputs))
		}
		if len(x.dims) != 2 || x.axis != 0 {
			return c.refuse("does not have the rows on the first of two axes")
		}
		out := make([]value, len(shapes))
		for i, s := range shapes {
			switch s {
			case asInput:
				out[i] = x
			case labels:
				out[i] = x.where(x.dims[:1])
			default:
				out[i] = x.where([]mono{x.dims[0], c.columns()})
			}
		}
		return out
	}
}

// columns are the scores of each row, where they are known.
func (c *call) columns() mono {
	switch c.n.Op {
	case "TreeEnsembleClassifier":
		if n := c.length("classlabels_int64s") + c.length("classlabels_strings"); n > 1 {
			return number(int64(n))
		}
	case "TreeEnsemble", "TreeEnsembleRegressor":
		if n := c.integer("n_targets", 0); n > 0 {
			return number(n)
		}
	case "LinearRegressor":
		if n := c.integer("targets", 1); n > 0 {
			return number(n)
		}
	case "SVMRegressor":
		return number(1)
	}
	return c.someSize()
}

// length is that of a list; 0 without one.
func (c *call) length(name string) int {
	if a := c.n.Attribute(name); a != nil {
		return a.Len
	}
	return 0
}

// oneHotEncoder adds an axis, after the others.
func oneHotEncoder(c *call) []value {
	if !c.need(1, 1) || c.counted() {
		return nil
	}
	x := c.in[0]
	if x.kind == same {
		return c.sames(1)
	}
	size := c.someSize()
	if n := c.length("cats_int64s") + c.length("cats_strings"); n > 0 {
		size = number(int64(n))
	}
	return []value{x.where(append(slices.Clone(x.dims), size))}
}

// featureVectorizer joins the columns of matrices, as floats.
func featureVectorizer(c *call) []value {
	if !c.need(1, 1000) {
		return nil
	}
	for i := range c.in {
		if c.in[i].kind != byRow {
			if c.allSame() {
				return c.sames(1)
			}
			return c.refuse("joins rows with what has not the same rows on the same axis")
		}
		if len(c.in[i].dims) != 2 || c.in[i].axis != 0 {
			return c.refuse("does not have the rows on the first of two axes")
		}
	}
	// Each is cut to, or filled up to, the columns that an attribute sets.
	out := c.joined(1, c.in)
	if c.why != "" || out[0].kind != byRow {
		return out
	}
	columns := int64(0)
	for _, n := range c.integers("inputdimensions") {
		columns += n
	}
	return []value{out[0].where([]mono{out[0].dims[0], number(columns)})}
}

// arrayFeatures takes places of the last axis: the same of each row, or for each
// row others of what is the same for all.
func arrayFeatures(c *call) []value {
	if !c.need(2, 2) || c.counted() {
		return nil
	}
	x, places := c.in[0], c.in[1]
	switch {
	case c.allSame():
		return c.sames(1)
	case x.kind == byRow && places.kind == byRow:
		return c.refuse("takes for each row what depends on all rows together")
	case x.kind == byRow:
		if len(x.dims) < 2 || x.axis == len(x.dims)-1 {
			return c.refuse("takes some of the rows")
		}
		return []value{x.where(x.with(len(x.dims)-1, c.someSize()))}
	case !x.ranked || len(x.dims) == 0:
		return c.refuse("takes places in a value of unknown rank")
	}
	all, ok := product(places.dims)
	if !ok {
		return c.refuse("makes a size that is too long to follow")
	}
	dims := []mono{number(1), all}
	if len(x.dims) > 1 {
		dims = append(slices.Clone(x.dims[:len(x.dims)-1]), all)
	}
	// The places are taken one after another, in each line of x.
	flat, ok := c.regroup(places, []mono{all})
	if !ok {
		return c.refuse("may put elements of one row beside those of another")
	}
	flat.dims, flat.axis = dims, len(dims)-1
	return []value{flat}
}
