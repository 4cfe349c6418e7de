package rows

import (
	"slices"

	"github.com/modelserveai/modelserve/runtime/graph"
)

// wordRules are of what scikit-learn's text models are exported to.
func wordRules(put putter) {
	put("", entry{rule: normalizeStrings, attributes: "case_change_action is_case_sensitive locale stopwords"}, "StringNormalizer")
	put("", entry{rule: pair(nil), since: 20}, "StringConcat")
	put("", entry{rule: single(nil), attributes: "pattern", since: 20}, "RegexFullMatch")
	put(contrib, entry{rule: tokenize, attributes: "mark mincharnum pad_value separators stopwords tokenexp"}, "Tokenizer")
	put("", entry{
		rule: countWords, padded: true,
		attributes: "max_gram_length max_skip_count min_gram_length mode ngram_counts ngram_indexes pool_int64s pool_strings weights",
	}, "TfIdfVectorizer")
}

// normalizeStrings changes letters. With words to leave out, it leaves out
// whole elements.
func normalizeStrings(c *call) []value {
	if !c.need(1, 1) || c.counted() {
		return nil
	}
	if c.attribute("stopwords", graph.Strings) != nil && c.length("stopwords") > 0 {
		return c.refuse("leaves elements out by what they are")
	}
	x := c.in[0]
	if x.kind == byRow && len(x.dims) != 1 {
		return c.refuse("does not have the rows on its only axis")
	}
	return []value{x.plain()}
}

// tokenize makes words of each row, and fills rows up to the one with most. Only
// what counts words can take them.
func tokenize(c *call) []value {
	if !c.need(1, 1) || c.counted() {
		return nil
	}
	x := c.in[0]
	if x.kind == same {
		return c.sames(1)
	}
	pad := c.attribute("pad_value", graph.String)
	if len(x.dims) != 1 || x.dims[0] != rowCount() || pad == nil || pad.String == "" || c.flag("mark", 0) {
		return c.refuse("gives as many columns as the longest of all rows has")
	}
	return []value{{kind: padded, pad: pad.String, ranked: true, dims: []mono{x.dims[0], c.someSize()}, outer: number(1)}}
}

// countWords counts the words of each row that are in a vocabulary: what rows
// are filled up with is not.
func countWords(c *call) []value {
	if !c.need(1, 1) || c.counted() {
		return nil
	}
	x := c.in[0]
	if x.kind == padded {
		pool := c.attribute("pool_strings", graph.Strings)
		if pool == nil || pool.Strings == nil || slices.Contains(pool.Strings, x.pad) {
			return c.refuse("may count what rows are filled up with")
		}
		x.kind, x.pad = byRow, ""
		return []value{x.where([]mono{x.dims[0], c.someSize()})}
	}
	return perRow(scores)(c)
}
