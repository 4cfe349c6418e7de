package contentdetect

import "bytes"

// whitespace is what Python's bytes.strip takes off.
const whitespace = " \t\n\r\v\f"

// features are the model's input: the head of the content without the
// whitespace before it, padded at its end, then the tail without the
// whitespace behind it, padded at its start. Only the first and the last block
// are looked at. It is _extract_features_from_seekable of magika 1.0.3.
//
// ok is false when too little is left of the head to ask the model.
func (c *config) features(content []byte) (values []int32, ok bool) {
	block := min(len(content), c.BlockSize)
	head := bytes.TrimLeft(content[:block], whitespace)
	tail := bytes.TrimRight(content[len(content)-block:], whitespace)
	if len(head) < c.MinFileSize {
		return nil, false
	}
	head = head[:min(len(head), c.BegSize)]
	tail = tail[max(0, len(tail)-c.EndSize):]

	values = make([]int32, c.BegSize+c.EndSize)
	for i := range values {
		values[i] = c.PaddingToken
	}
	for i, b := range head {
		values[i] = int32(b)
	}
	end := values[len(values)-len(tail):]
	for i, b := range tail {
		end[i] = int32(b)
	}
	return values, true
}
