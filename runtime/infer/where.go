package infer

import "strconv"

// where is the path of a value in a JSON body. It is formatted only for an
// error: a body has many values, and few faults.
type where struct {
	list    string // "inputs"
	item    int    // one of its elements, from 1 on; 0 is none
	tail    string // below that, ".shape"
	element int    // one of that one's elements, from 1 on; 0 is none
}

// at is the path of a member of the body; "" is the body.
func at(list string) where { return where{list: list} }

// member is the path of a member of the value, with the dot before its name.
func (w where) member(dotted string) where {
	w.tail += dotted
	return w
}

// of is the path of an element of the value, from 0 on.
func (w where) of(i int) where {
	if w.tail == "" && w.item == 0 {
		w.item = i + 1
	} else {
		w.element = i + 1
	}
	return w
}

// String is the path as errors have it: inputs[0].shape[1].
func (w where) String() string {
	text := w.list
	if w.item > 0 {
		text += "[" + strconv.Itoa(w.item-1) + "]"
	}
	text += w.tail
	if w.element > 0 {
		text += "[" + strconv.Itoa(w.element-1) + "]"
	}
	if text == "" {
		return "body"
	}
	return text
}
