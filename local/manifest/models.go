package manifest

import "strings"

// ModelsVariable is the variable in which a Service names the models that it
// serves, and AllModels its value for every published one.
const (
	ModelsVariable = "MODELSERVE_MODELS"
	AllModels      = "*"
)

// Models are what the Service's MODELSERVE_MODELS lists, as it is written there.
func (s *Service) Models() []string {
	value := ""
	for _, e := range s.Env {
		if e.Name == ModelsVariable {
			value = e.Value
		}
	}
	return SplitModels(value)
}

// SplitModels cuts the value of MODELSERVE_MODELS.
func SplitModels(value string) []string {
	var list []string
	for model := range strings.SplitSeq(value, ",") {
		if model = strings.TrimSpace(model); model != "" {
			list = append(list, model)
		}
	}
	return list
}
