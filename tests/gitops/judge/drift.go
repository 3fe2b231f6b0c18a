package main

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
)

type pair struct {
	Git  object `json:"git"`
	Live object `json:"live"`
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// drift is Argo CD's default diff of a custom resource: the three-way merge patch from what was last applied (else from what is in
// Git) and what is in Git, to what is live. Argo CD calls an object synced where that patch changes nothing.
func drift(both pair) (json.RawMessage, error) {
	original := both.Git
	if text := text(child(child(both.Live, "metadata"), "annotations")[lastApplied]); text != "" {
		original = nil
		if err := json.Unmarshal([]byte(text), &original); err != nil {
			return nil, err
		}
	}
	var written [3][]byte
	for i, each := range []object{uncompared(original), uncompared(both.Git), both.Live} {
		var err error
		if written[i], err = json.Marshal(each); err != nil {
			return nil, err
		}
	}
	return jsonmergepatch.CreateThreeWayJSONMergePatch(written[0], written[1], written[2])
}

// uncompared is without what Argo CD leaves out of what was written: the namespace, which may come from elsewhere, and annotations of
// which there are none, as kubectl notes them.
func uncompared(written object) object {
	metadata := child(written, "metadata")
	delete(metadata, "namespace")
	if len(child(metadata, "annotations")) == 0 {
		delete(metadata, "annotations")
	}
	return written
}

func child(parent object, name string) object {
	found, _ := parent[name].(object)
	return found
}
