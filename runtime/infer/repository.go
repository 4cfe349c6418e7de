package infer

import (
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// MaxControl bounds the bodies of the repository extension's requests, in bytes.
const MaxControl = 64 << 10

// DecodeIndexRequest reads the body of a request for the repository's index:
// whether it is for the versions alone that are ready. An empty body and null
// ask for all.
func DecodeIndexRequest(body []byte) (onlyReady bool, err error) {
	err = decodeControl(body, "ready", func(d *decoder) error { return d.boolean(at("ready"), &onlyReady) })
	return onlyReady, err
}

// DecodeLoadRequest checks the body of a request to load a model, which asks for
// nothing beside: no parameter of load is supported. An empty body and null are
// good ones.
func DecodeLoadRequest(body []byte) error {
	return decodeControl(body, "parameters", func(d *decoder) error {
		return d.controlParameters(func(name string, path where) error {
			if _, err := d.parameter(path); err != nil {
				return err
			}
			return LoadParameter(name)
		})
	})
}

// LoadParameter refuses what Triton allows to be overridden at load.
func LoadParameter(name string) error {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "…"
	}
	e := problem.Invalid("parameters."+name, "a published version is loaded as it is: no parameter of load is supported")
	e.Code = problem.Unimplemented
	return e
}

// DecodeUnloadRequest checks the body of a request to unload a model. Its
// unload_dependents means nothing: no model has any. An empty body and null are
// good ones.
func DecodeUnloadRequest(body []byte) error {
	return decodeControl(body, "parameters", func(d *decoder) error {
		return d.controlParameters(func(name string, path where) error {
			if name == "unload_dependents" {
				return d.boolean(path, new(bool))
			}
			_, err := d.parameter(path)
			return err
		})
	})
}

// controlParameters reads parameters, of which null is as good as absent.
func (d *decoder) controlParameters(read func(name string, path where) error) error {
	return d.object(at("parameters"), func(name string) error {
		if absent, err := d.absent(true); absent || err != nil {
			return err
		}
		return read(name, at("parameters").member("."+name))
	})
}

// decodeControl reads a body that is an object of at most one member, null or
// nothing.
func decodeControl(body []byte, member string, read func(*decoder) error) error {
	if len(body) == 0 {
		return nil
	}
	d, err := newDecoder(body, NoHeader, Limits{})
	if err != nil {
		return err
	}
	if absent, err := d.absent(true); err != nil {
		return err
	} else if absent {
		return d.end()
	}
	return d.document(func(name string) error {
		if name != member {
			return problem.Invalid(problem.Path(d.json.StackPointer().Tokens()), "there is no such member; expected %s alone", member)
		}
		if absent, err := d.absent(true); absent || err != nil {
			return err
		}
		return read(d)
	})
}
