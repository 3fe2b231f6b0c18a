package main

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
)

type pair struct {
	Git  json.RawMessage `json:"git"`
	Live object          `json:"live"`
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// drift is Argo CD's default diff of a custom resource: the three-way merge patch from what was last applied (else from what is in
// Git) and what is in Git, to what is live. Argo CD calls an object synced where that patch changes nothing.
func drift(both pair) (json.RawMessage, error) {
	original := both.Git
	if metadata, ok := both.Live["metadata"].(object); ok {
		if annotations, ok := metadata["annotations"].(object); ok {
			if text, ok := annotations[lastApplied].(string); ok {
				original = json.RawMessage(text)
			}
		}
	}
	live, err := json.Marshal(both.Live)
	if err != nil {
		return nil, err
	}
	return jsonmergepatch.CreateThreeWayJSONMergePatch(original, both.Git, live)
}
