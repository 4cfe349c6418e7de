package infer

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// tensors reads the array of a body's inputs or outputs.
func (d *decoder) tensors(path where) ([]Tensor, error) {
	var out []Tensor
	err := d.array(path, maxTensors, func(_ int, path where) error {
		t, size, err := d.tensor(path)
		out = append(out, t)
		d.sizes = append(d.sizes, size)
		return err
	})
	return out, err
}

// tensorText is a tensor whose data could not be read yet, because what it is
// of stands behind it.
type tensorText struct {
	name, dataType, shape bool // were there
	data                  jsontext.Value
	read                  bool // data has been turned into the tensor's
	size                  int64
}

// tensor reads one tensor. The size is its binary_data_size, -1 when its data
// is in the JSON.
func (d *decoder) tensor(path where) (Tensor, int64, error) {
	var t Tensor
	seen := tensorText{size: -1}
	var values array
	err := d.object(path, func(name string) (err error) {
		if absent, err := d.absent(name == "parameters" || name == "data"); absent || err != nil {
			return err
		}
		switch name {
		case "name":
			seen.name = true
			return d.text(path.member(".name"), &t.Name)
		case "datatype":
			seen.dataType = true
			return d.tensorType(path.member(".datatype"), &t.DataType)
		case "shape":
			seen.shape = true
			t.Shape, err = d.tensorShape(path.member(".shape"))
			return err
		case "parameters":
			return d.tensorParameters(path.member(".parameters"), &seen.size)
		case "data":
			return d.tensorData(path.member(".data"), &t, &seen, &values)
		default:
			return d.skip()
		}
	})
	if err != nil {
		return t, 0, err
	}
	return t, seen.size, d.finish(path, &t, &seen, values)
}

// tensorData reads the data member: at once when the type is known, which is
// the order every client writes, else it is kept for finish.
func (d *decoder) tensorData(path where, t *Tensor, seen *tensorText, values *array) error {
	text, err := d.json.ReadValue()
	if err != nil {
		return d.syntax(err)
	}
	if !seen.dataType {
		if err := d.charge(len(text)); err != nil {
			return err
		}
		seen.data = text.Clone()
		return nil
	}
	seen.read = true
	*values, err = d.arrayReader(path, t, seen).read(text)
	return err
}

func (d *decoder) arrayReader(path where, t *Tensor, seen *tensorText) *arrayReader {
	r := &arrayReader{
		dataType: t.DataType,
		path:     path,
		depth:    3, // the body, the tensors, the tensor
		limit:    d.limits.Elements,
		reserve:  d.limits.Reserve,
	}
	if seen.shape {
		r.shape = t.Shape
	}
	return r
}

// finish checks that a tensor was whole, and reads data that stood before its
// type.
func (d *decoder) finish(path where, t *Tensor, seen *tensorText, values array) (err error) {
	switch {
	case !seen.name || t.Name == "":
		return problem.Invalid(path.member(".name").String(), "expected the tensor's name; it is missing")
	case !seen.dataType:
		return problem.Invalid(path.member(".datatype").String(), "expected the tensor's data type; it is missing")
	case !seen.shape:
		return problem.Invalid(path.member(".shape").String(), "expected the tensor's shape; it is missing")
	}
	hasData := seen.read || seen.data != nil
	if seen.size >= 0 {
		if hasData {
			return problem.Invalid(path.member(".data").String(), "expected either data or parameters.binary_data_size, not both")
		}
		return nil
	}
	if !hasData {
		return problem.Invalid(path.member(".data").String(), "expected the tensor's data, or parameters.binary_data_size; both are missing")
	}
	if !seen.read {
		if values, err = d.arrayReader(path.member(".data"), t, seen).read(seen.data); err != nil {
			return err
		}
	}
	t.Data = values.data
	return values.fits(path.member(".data"), t.Shape)
}

func (d *decoder) tensorType(path where, into *DataType) error {
	var name string
	if err := d.text(path, &name); err != nil {
		return err
	}
	*into = dataType([]byte(name))
	if *into == "" {
		return badType(path.String(), name)
	}
	return nil
}

// dataType is the data type of that name, without keeping the client's string;
// "" when there is none.
func dataType(name []byte) DataType {
	for _, d := range [...]DataType{FP32, Int64, Uint8, Bytes, Int32, FP64, FP16, BF16, Bool, Uint16, Uint32, Uint64, Int8, Int16} {
		if string(d) == string(name) {
			return d
		}
	}
	return ""
}

// badType is the fault of a name that is no data type.
func badType(path, name string) error {
	return problem.Invalid(path, "expected one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES; got %s", quote(name))
}

func (d *decoder) tensorShape(path where) ([]int64, error) {
	shape := make([]int64, 0, 4)
	err := d.array(path, maxRank, func(_ int, path where) error {
		n, err := d.natural(path, "a size")
		shape = append(shape, n)
		return err
	})
	if err == nil && elements(shape) < 0 {
		err = problem.Invalid(path.String(), "the number of elements of %v overflows", shape)
	}
	return shape, err
}

// tensorParameters reads a tensor's parameters, of which only its size in the
// binary section means something.
func (d *decoder) tensorParameters(path where, size *int64) error {
	return d.object(path, func(name string) error {
		if absent, err := d.absent(true); absent || err != nil {
			return err
		}
		field := path.member("." + name)
		if name == "binary_data_size" {
			n, err := d.natural(field, "a number of bytes")
			*size = n
			return err
		}
		if err := refuseShared(field, name); err != nil {
			return err
		}
		_, err := d.parameter(field)
		return err
	})
}

// binary gives each tensor its part of the binary section, in order, and checks
// that they use it up.
func (d *decoder) binary(path string, tensors []Tensor) error {
	rest := d.rest
	for i := range tensors {
		t, size := &tensors[i], d.sizes[i]
		if size < 0 {
			continue
		}
		field := path + "[" + strconv.Itoa(i) + "].parameters.binary_data_size"
		if d.isJSON {
			return problem.Invalid(field, "binary data needs the header Inference-Header-Content-Length, the length of the JSON before it")
		}
		if size > int64(len(rest)) {
			return problem.Invalid(field, "expected at most the %d bytes left of the binary section; got %d", len(rest), size)
		}
		if err := d.checkSize(field, t, size); err != nil {
			return err
		}
		var err error
		if t.Data, err = d.place(rest[:size:size], t.DataType.Size()); err != nil {
			return err
		}
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return problem.New(problem.MalformedBody, "the binary section has %d bytes more than its tensors", len(rest))
	}
	return nil
}

// checkSize checks a binary tensor's size against its shape, as far as that
// determines it.
func (d *decoder) checkSize(field string, t *Tensor, size int64) error {
	n := t.Elements()
	if d.limits.Elements > 0 && n > d.limits.Elements {
		return tooMany(field, d.limits.Elements)
	}
	if element := int64(t.DataType.Size()); element > 0 && (size%element != 0 || size/element != n) {
		return problem.Invalid(field, "expected %s of %s for the shape %v; got %s",
			count(n, "element"), count(element, "byte"), t.Shape, count(size, "byte"))
	}
	return nil
}

// place returns data where it is when it is aligned, and a copy otherwise.
func (d *decoder) place(data []byte, size int) ([]byte, error) {
	if aligned(data, size) {
		return data, nil
	}
	if d.limits.Reserve != nil {
		if err := d.limits.Reserve(int64(len(data))); err != nil {
			return nil, err
		}
	}
	return append(make([]byte, 0, len(data)), data...), nil
}
