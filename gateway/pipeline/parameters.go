package pipeline

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

func typeOfEvent() reflect.Type { return reflect.TypeFor[contract.Event]() }

const (
	labelPattern  = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
	idPattern     = "^[A-Za-z0-9_-]{1,64}$"
	letterPattern = "^[A-Za-z0-9_.-]{1,160}$"
	stepPattern   = "^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
)

// parameter is a parameter by its name here.
func parameter(name string) *huma.Param {
	switch name {
	case "path:name":
		return &huma.Param{Name: "name", In: "path", Required: true, Schema: text(labelPattern), Description: "of the pipeline"}
	case "path:version":
		return &huma.Param{Name: "version", In: "path", Required: true, Schema: number(1, 1<<31-1)}
	case "path:id":
		return &huma.Param{Name: "id", In: "path", Required: true, Schema: text(idPattern)}
	case "path:schedule":
		return &huma.Param{Name: "name", In: "path", Required: true, Schema: text(labelPattern), Description: "of the schedule"}
	case "path:letter":
		return &huma.Param{Name: "id", In: "path", Required: true, Schema: text(letterPattern)}
	case "limit":
		limit := number(1, contract.MaxLimit)
		limit.Default = contract.DefaultLimit
		return query(name, limit, "")
	case "cursor":
		return query(name, text("^[A-Za-z0-9_-]*$"), "the next_cursor of the page before, unchanged")
	case "replayed":
		return query(name, &huma.Schema{Type: huma.TypeBoolean}, "whether they were replayed; both where it is left out")
	case "step":
		return query(name, text(stepPattern), "a name")
	case "pipeline":
		return query(name, text(labelPattern), "a name")
	case "execution":
		return query(name, text(idPattern), "an id")
	case "status":
		statuses := &huma.Schema{Type: huma.TypeString}
		for _, status := range contract.Statuses() {
			statuses.Enum = append(statuses.Enum, string(status))
		}
		return query(name, statuses, "")
	case "label":
		return query(name, &huma.Schema{Type: huma.TypeArray, Items: text("^[A-Za-z0-9_./-]{1,63}=")}, "KEY=VALUE; several are all of them")
	case "priority":
		return query(name, number(-10, 10), "the higher is admitted and sent first; that of the pipeline where it is left out")
	case "run_at":
		return query(name, &huma.Schema{Type: huma.TypeString}, "when it may begin: a time (RFC 3339), or a duration from now such as 10m; within a year")
	case "from":
		return query(name, text(stepPattern), "the step to begin at; the first where it is left out")
	case "version":
		return query(name, number(1, 1<<31-1), "of the pipeline; that of the execution where it is left out")
	case "idempotencyKey":
		return header(contract.IdempotencyKeyHeader, "^[!-~]{1,255}$", "the same request with it answers with the same execution for 24 hours; 1 to 255 visible characters of ASCII")
	case "prefer":
		return header(contract.PreferHeader, "", "wait=N waits up to N seconds for the end (RFC 7240)")
	case "lastEventID":
		return header(contract.LastEventIDHeader, "^[0-9]{0,18}$", "the id of the event after which the stream goes on")
	default:
		return nil
	}
}

func query(name string, schema *huma.Schema, description string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Schema: schema, Description: description}
}

func header(name, pattern, description string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Schema: text(pattern), Description: description}
}

func text(pattern string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern}
}

func number(least, most float64) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most}
}
