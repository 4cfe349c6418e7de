package gateway

import (
	_ "embed"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

//go:embed openapi.json
var openAPIDocument []byte

// openAPI serves the description of every URL here (OpenAPI 3.1).
func (g *gateway) openAPI(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPIDocument)))
	_, _ = w.Write(openAPIDocument) // a caller that is gone needs no error
	return nil
}

// functionView is a function as the control API shows it.
type functionView struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	URL       string   `json:"url,omitempty"` // none for the pool
	Pool      bool     `json:"pool,omitempty"`
	State     string   `json:"state,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Models    []string `json:"models"`
	Mixed     []string `json:"mixed,omitempty"` // of a canary
	Tags      []string `json:"tags"`
}

// listFunctions tells the functions the caller may call.
func (g *gateway) listFunctions(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	views := []functionView{}
	functions := g.deps.Routes.Functions()
	for i := range functions {
		f := &functions[i]
		on := f.Name
		if f.Pool {
			on = "*" // for those who may call every model
		}
		if !g.door.May(ctx, c, auth.Action{Verb: auth.DoInfer, On: on}) {
			continue
		}
		view := functionView{
			Name: f.Name, Namespace: f.Namespace, Pool: f.Pool, State: f.State, Reason: problem.WithoutPlaces(f.Reason),
			Models: []string{}, Tags: append([]string{}, f.Tags...),
		}
		if host := g.deps.Routes.PublicHost(f); host != "" {
			view.URL = "http://" + withPort(host, r.Host) + "/"
		}
		for _, pin := range f.Models {
			view.Models = append(view.Models, pin.String())
		}
		for _, pin := range f.Mixed {
			view.Mixed = append(view.Mixed, pin.String())
		}
		views = append(views, view)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"functions": views})
}

// withPort gives a host the port that the caller came by.
func withPort(host, callers string) string {
	if _, port, err := net.SplitHostPort(callers); err == nil && port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

// controlBody bounds the JSON of the control API, well below what inputs may be.
const controlBody = 1 << 20

// decode reads a strict JSON body: no unknown or duplicate fields, nothing
// after it. The error names the field.
func decode(r *http.Request, into any) error {
	data, err := readControl(r, controlBody)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return problem.New(problem.MalformedBody, "the body is empty; expected a JSON object")
	}
	return unmarshal(data, into)
}

// readControl reads a body that the gateway itself answers, of at most so many
// bytes. It may be empty, and is no form.
func readControl(r *http.Request, most int64) ([]byte, error) {
	media, err := infer.MediaType(r.Header.Values("Content-Type"))
	if err != nil {
		return nil, err
	}
	if err := infer.RefuseForm(media, nil, infer.InsteadOfForm); err != nil {
		return nil, err
	}
	if encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ", ")); encoding != "" && encoding != "identity" {
		return nil, problem.New(problem.UnsupportedMedia, "expected a body without a Content-Encoding: it is small")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, err // the body's own problem
	}
	if int64(len(data)) > most {
		return nil, problem.New(problem.PayloadTooLarge, "the body is larger than %d bytes", most)
	}
	return data, infer.RefuseForm(media, data, infer.InsteadOfForm)
}

func unmarshal(data []byte, into any) error {
	err := json.Unmarshal(infer.WithoutMark(data), into, json.RejectUnknownMembers(true))
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return problem.Invalid(fieldOf(syntactic.JSONPointer), "expected once, got twice")
	case errors.As(err, &syntactic):
		return problem.New(problem.MalformedBody, "the body is not JSON at byte %d", syntactic.ByteOffset)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return problem.Invalid(fieldOf(semantic.JSONPointer), "there is no such field")
	case errors.As(err, &semantic):
		want := "another type"
		if semantic.GoType != nil {
			want = jsonName(semantic.GoType.String())
		}
		return problem.Invalid(fieldOf(semantic.JSONPointer), "expected %s", want)
	default:
		return problem.New(problem.MalformedBody, "the body cannot be read as JSON")
	}
}

// fieldOf writes a JSON pointer as problem.Field has it: "scopes[0]".
func fieldOf(pointer jsontext.Pointer) string {
	var path strings.Builder
	for token := range pointer.Tokens() {
		if _, err := strconv.Atoi(token); err == nil && path.Len() > 0 {
			path.WriteString("[" + token + "]")
			continue
		}
		if path.Len() > 0 {
			path.WriteByte('.')
		}
		path.WriteString(token)
	}
	if path.Len() == 0 {
		return "body"
	}
	return path.String()
}

func jsonName(goType string) string {
	switch {
	case goType == "time.Time":
		return "a time such as 2027-01-31T12:00:00Z"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "string" || strings.HasSuffix(goType, "Scope"):
		return "a string"
	case goType == "bool":
		return "true or false"
	default:
		return "an object"
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err //nolint:wrapcheck // cannot happen
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a caller that is gone needs no error
	return nil
}

func (g *gateway) healthz(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
}

func (g *gateway) readyz(_ *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := g.v2.NotReady(r.Context(), nil); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"status": "ready"})
}
