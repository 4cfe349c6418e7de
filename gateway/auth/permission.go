package auth

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// Permission is one thing that a principal may do: "models:read", or, of the kinds
// that name something, "infer:churn", "infer:text-*" and "infer:*". The scopes of
// keys are permissions.
type Permission string

// The permissions that name nothing.
const (
	ModelsRead      Permission = "models:read"  // metadata, index and statistics of every model
	ModelsWrite     Permission = "models:write" // load and unload; includes ModelsRead
	PipelinesRead   Permission = "pipelines:read"
	PipelinesWrite  Permission = "pipelines:write"
	ExecutionsRead  Permission = "executions:read"
	ExecutionsWrite Permission = "executions:write" // cancel, replay, dead letters
	EventsSend      Permission = "events:send"
	SchedulesWrite  Permission = "schedules:write"
	WebhooksWrite   Permission = "webhooks:write"
	UsageRead       Permission = "usage:read"
	AuditRead       Permission = "audit:read"
	KeysAdmin       Permission = "keys:admin"  // make, rotate, list and revoke the tenant's keys
	RolesAdmin      Permission = "roles:admin" // the tenant's roles and grants
	Admin           Permission = "admin"       // everything, in every tenant
)

// Fixed lists the permissions that name nothing.
func Fixed() []Permission {
	return []Permission{
		ModelsRead, ModelsWrite, PipelinesRead, PipelinesWrite, ExecutionsRead, ExecutionsWrite, EventsSend,
		SchedulesWrite, WebhooksWrite, UsageRead, AuditRead, KeysAdmin, RolesAdmin, Admin,
	}
}

// The kinds of permission that name something.
const (
	inferKind = "infer" // call models and functions; includes their metadata
	runKind   = "run"   // start pipelines
)

// What covers every permission of its kind.
const (
	InferAll Permission = "infer:*"
	RunAll   Permission = "run:*"
)

// Infer is the permission to call one model, or one function by its host. It also
// lets its holder see that model's metadata.
func Infer(name string) Permission { return inferKind + ":" + Permission(name) }

// Run is the permission to start one pipeline.
func Run(name string) Permission { return runKind + ":" + Permission(name) }

// PermissionsHelp lists the permissions for people.
const PermissionsHelp = "infer:*, infer:<model or function>, run:*, run:<pipeline> (a name may end in *), " +
	"models:read, models:write, pipelines:read, pipelines:write, executions:read, executions:write, events:send, " +
	"schedules:write, webhooks:write, usage:read, audit:read, keys:admin, roles:admin, admin"

// PermissionPattern is a regular expression of every permission, for schemas.
const PermissionPattern = `^((infer|run):([*]|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|[a-z0-9][a-z0-9-]{0,61}[*])|(models|pipelines|executions):(read|write)|events:send|schedules:write|webhooks:write|usage:read|audit:read|keys:admin|roles:admin|admin)$`

// Split takes a permission apart: its kind, and the pattern of what it names, a
// name or a beginning that ends in "*". kind is "" for one that names nothing.
func (p Permission) Split() (kind, pattern string) {
	kind, pattern, _ = strings.Cut(string(p), ":")
	if kind != inferKind && kind != runKind {
		return "", ""
	}
	return kind, pattern
}

// Valid reports whether p is a permission.
func (p Permission) Valid() bool {
	kind, pattern := p.Split()
	if kind == "" {
		return slices.Contains(Fixed(), p)
	}
	begin, ok := strings.CutSuffix(pattern, "*")
	if !ok {
		return IsLabel(pattern)
	}
	return begin == "" || len(begin) < 63 && IsLabel(strings.TrimRight(begin, "-")) // a name may go on after a hyphen
}

// Covers reports whether a holder of p holds other too.
func (p Permission) Covers(other Permission) bool {
	if p == other || p == Admin {
		return true
	}
	kind, pattern := p.Split()
	otherKind, otherPattern := other.Split()
	if kind != otherKind {
		return false
	}
	if kind == "" {
		area, ok := strings.CutSuffix(string(p), ":write")
		return ok && string(other) == area+":read"
	}
	begin, ok := strings.CutSuffix(pattern, "*")
	return ok && strings.HasPrefix(otherPattern, begin)
}

// Action is something a caller wants to do.
type Action struct {
	Verb Verb
	On   string // the model, function or pipeline; "" where the verb has no object
}

// Verb is a kind of action.
type Verb string

// The verbs.
const (
	DoInfer       Verb = "infer"          // On is the model or function
	DoRead        Verb = "read"           // On is the model
	DoCount       Verb = "see the use of" // On is the model: how often and how long whoever called it
	DoLoad        Verb = "load or unload" // On is the model
	DoManageKeys  Verb = "manage keys"
	DoManageRoles Verb = "manage roles and grants"
	DoReadAudit   Verb = "read the audit log"
	DoReadUsage   Verb = "read the usage"
	DoAnything    Verb = "administer" // what only Admin may do

	DoRun             Verb = "run" // On is the pipeline
	DoReadPipelines   Verb = "see pipelines"
	DoWritePipelines  Verb = "register, deprecate or delete pipelines"
	DoReadExecutions  Verb = "see executions and dead letters"
	DoWriteExecutions Verb = "cancel, replay or delete executions"
	DoSchedules       Verb = "see, make, pause, run or delete schedules"
)

// Permissions lists those of which any one suffices.
func (a Action) Permissions() []Permission {
	switch a.Verb {
	case DoInfer:
		return []Permission{Infer(a.On)}
	case DoCount:
		return []Permission{ModelsRead}
	case DoRead:
		return []Permission{Infer(a.On), ModelsRead}
	case DoLoad:
		return []Permission{ModelsWrite}
	case DoManageKeys:
		return []Permission{KeysAdmin}
	case DoManageRoles:
		return []Permission{RolesAdmin}
	case DoReadAudit:
		return []Permission{AuditRead}
	case DoReadUsage:
		return []Permission{UsageRead}
	case DoAnything:
		return []Permission{Admin}
	case DoRun:
		return []Permission{Run(a.On)}
	case DoReadPipelines:
		return []Permission{PipelinesRead}
	case DoWritePipelines:
		return []Permission{PipelinesWrite}
	case DoReadExecutions:
		return []Permission{ExecutionsRead}
	case DoSchedules:
		return []Permission{SchedulesWrite}
	case DoWriteExecutions:
		return []Permission{ExecutionsWrite}
	default:
		return nil
	}
}

// Denied is the error of a principal who may not do something.
func (a Action) Denied() error {
	what := string(a.Verb)
	if a.On != "" {
		what += " " + a.On
	}
	needs := a.Permissions()
	if len(needs) == 0 {
		return problem.New(problem.PermissionDenied, "this credential may not %s", what)
	}
	return problem.New(problem.PermissionDenied, "this credential may not %s: it needs the permission %s", what, needs[0])
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// Authorizer decides what a principal may do. It denies what it does not know.
type Authorizer interface {
	// Authorize returns nil, or problem.PermissionDenied saying what is missing.
	Authorize(ctx context.Context, p *Principal, a Action) error
}
