package infer

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// What a JSON object may have. The tokenizer would keep each name to find those that
// come twice, whatever they take, and twenty times their bytes.
const (
	maxMembers    = 1024 // of one object
	maxMemberName = 1024 // bytes of one name, with its escapes
)

// What is charged beside a text's own bytes, and for how many at a time.
const (
	memberBytes = 96 // a name in a set, or a parameter in a map
	smallText   = 64 // bytes: such cost the account nothing
	chargeChunk = 4 << 10
)

// charge charges bytes that are about to be allocated.
func (d *decoder) charge(bytes int) error {
	if d.limits.Reserve == nil {
		return nil
	}
	if n := int64(bytes); n > d.credit {
		more := max(n-d.credit, chargeChunk)
		if err := d.limits.Reserve(more); err != nil {
			return err
		}
		d.credit += more
	}
	d.credit -= int64(bytes)
	return nil
}

// memberSet is the members that an object has had, of nearly all objects few.
type memberSet struct {
	few   [8]string
	count int
	many  map[string]struct{} // of more
	bytes int                 // charged
}

// add adds a member that was just read.
func (n *memberSet) add(d *decoder, name string) error {
	for i := range min(n.count, len(n.few)) {
		if n.few[i] == name {
			return d.twice(name)
		}
	}
	if n.count < len(n.few) {
		n.few[n.count] = name
		n.count++
		return nil
	}
	if _, twice := n.many[name]; twice {
		return d.twice(name)
	}
	if n.count == maxMembers {
		return problem.Invalid(d.within(), "expected an object of at most %d members", maxMembers)
	}
	if err := d.charge(memberBytes); err != nil {
		return err
	}
	n.bytes += memberBytes
	if n.many == nil {
		n.many = map[string]struct{}{}
	}
	n.many[name] = struct{}{}
	n.count++
	return nil
}

// twice is the fault of a name that its object had before.
func (d *decoder) twice(name string) error {
	path, detail := problem.Path(d.json.StackPointer().Tokens()), "duplicate object member name "+quote(name)
	e := problem.New(problem.MalformedBody, "%s: %s (before byte %d)", path, detail, d.json.InputOffset())
	e.Fields = []problem.Field{{Field: path, Detail: detail}}
	return e
}

// within is the path of the object whose member was just read.
func (d *decoder) within() string { return problem.Path(d.json.StackPointer().Parent().Tokens()) }

// name reads a member's name.
func (d *decoder) name() (string, error) {
	quoted, err := d.json.ReadValue()
	if err != nil {
		return "", d.syntax(err)
	}
	if len(quoted)-2 > maxMemberName {
		return "", problem.Invalid("body", "expected members whose names have at most %d bytes", maxMemberName) // a path would have it
	}
	return d.unquote(quoted)
}

// readString reads a string.
func (d *decoder) readString() (string, error) {
	quoted, err := d.json.ReadValue()
	if err != nil {
		return "", d.syntax(err)
	}
	return d.unquote(quoted)
}

// skip reads a value that means nothing here, but keeps the rules all the same. What
// it keeps of an object is charged as long as that is open.
func (d *decoder) skip() error {
	depth := d.json.StackDepth()
	var open []memberSet // the objects in which it is
	for {
		kind, length := d.json.StackIndex(d.json.StackDepth())
		if inside := d.json.StackDepth() > depth; inside && kind == '{' && length%2 == 0 && d.json.PeekKind() == '"' {
			if err := d.skipName(&open[len(open)-1]); err != nil {
				return err
			}
			continue
		}
		switch d.json.PeekKind() {
		case '0':
			if _, err := d.float(); err != nil {
				return err
			}
		case '{':
			if err := d.charge(int(sizeOfNames)); err != nil {
				return err
			}
			open = append(open, memberSet{})
			if err := d.skipToken(); err != nil {
				return err
			}
		case '}':
			if err := d.skipToken(); err != nil {
				return err
			}
			last := len(open) - 1
			d.credit += int64(open[last].bytes) + sizeOfNames
			open = open[:last]
		default:
			if err := d.skipToken(); err != nil {
				return err
			}
		}
		if d.json.StackDepth() == depth {
			return nil
		}
	}
}

// sizeOfNames is what one more open object takes.
const sizeOfNames = 256

// skipName reads the name of a member that means nothing.
func (d *decoder) skipName(n *memberSet) error {
	name, err := d.name()
	if err != nil {
		return err
	}
	if len(name) > smallText { // which name has charged
		n.bytes += len(name)
	}
	return n.add(d, name)
}

// skipToken reads one token of a value that means nothing.
func (d *decoder) skipToken() error {
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	if d.json.StackDepth() > MaxDepth {
		return problem.Invalid(problem.Path(d.json.StackPointer().Tokens()), "nested deeper than %d", MaxDepth)
	}
	return nil
}

// options are the tokenizer's: we look for names that come twice.
func options() jsontext.Options { return jsontext.AllowDuplicateNames(true) }
