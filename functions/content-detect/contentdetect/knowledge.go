package contentdetect

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// What magika 1.0.3 knows besides its model, copied unchanged (Apache-2.0, see
// LICENSE.magika).
var (
	//go:embed config.min.json
	configJSON []byte
	//go:embed content_types_kb.min.json
	typesJSON []byte
)

// config is the model's config.min.json.
type config struct {
	BegSize                   int                `json:"beg_size"`
	MidSize                   int                `json:"mid_size"`
	EndSize                   int                `json:"end_size"`
	BlockSize                 int                `json:"block_size"`
	UseInputsAtOffsets        bool               `json:"use_inputs_at_offsets"`
	MinFileSize               int                `json:"min_file_size_for_dl"`
	PaddingToken              int32              `json:"padding_token"`
	MediumConfidenceThreshold float64            `json:"medium_confidence_threshold"`
	TargetLabels              []string           `json:"target_labels_space"`
	Thresholds                map[string]float64 `json:"thresholds"`
	Overwrite                 map[string]string  `json:"overwrite_map"`
}

// contentType is what is known of one label.
type contentType struct {
	MIMEType    *string `json:"mime_type"`
	Group       *string `json:"group"`
	Description *string `json:"description"`
	IsText      bool    `json:"is_text"`
}

// The labels that magika gives by itself, without its model's word.
const (
	labelEmpty   = "empty"
	labelText    = "txt"
	labelUnknown = "unknown"
)

// load reads the embedded files and checks that every label they can lead to
// is described.
func load() (*config, map[string]contentType, error) {
	var cfg config
	if err := json.Unmarshal(configJSON, &cfg); err != nil {
		return nil, nil, fmt.Errorf("read config.min.json: %w", err)
	}
	var types map[string]contentType
	if err := json.Unmarshal(typesJSON, &types); err != nil {
		return nil, nil, fmt.Errorf("read content_types_kb.min.json: %w", err)
	}
	if cfg.MidSize != 0 || cfg.UseInputsAtOffsets || cfg.BegSize > cfg.BlockSize || cfg.EndSize > cfg.BlockSize ||
		cfg.MinFileSize < 1 || cfg.MinFileSize > cfg.BegSize {
		return nil, nil, fmt.Errorf("config.min.json wants features that are not extracted here: %+v", cfg)
	}
	labels := append([]string{labelEmpty, labelText, labelUnknown}, cfg.TargetLabels...)
	for _, to := range cfg.Overwrite {
		labels = append(labels, to)
	}
	for _, label := range labels {
		if _, ok := types[label]; !ok {
			return nil, nil, fmt.Errorf("content_types_kb.min.json does not describe %q", label)
		}
	}
	return &cfg, types, nil
}
