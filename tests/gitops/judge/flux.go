package main

import (
	"encoding/json"

	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomize "github.com/fluxcd/kustomize-controller/api/v1"
	source "github.com/fluxcd/source-controller/api/v1"
	strict "sigs.k8s.io/json"
)

// flux reads an object into Flux's own type: invalid where that has no such field, skipped where it is no kind of Flux.
func flux(raw json.RawMessage) (verdict, error) {
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return verdict{}, err
	}
	into := map[string]any{
		"kustomize.toolkit.fluxcd.io/v1/Kustomization": &kustomize.Kustomization{},
		"helm.toolkit.fluxcd.io/v2/HelmRelease":        &helm.HelmRelease{},
		"source.toolkit.fluxcd.io/v1/GitRepository":    &source.GitRepository{},
		"source.toolkit.fluxcd.io/v1/OCIRepository":    &source.OCIRepository{},
	}[kind.APIVersion+"/"+kind.Kind]
	if into == nil {
		return verdict{"skipped", ""}, nil
	}
	unknown, err := strict.UnmarshalStrict(raw, into)
	if err == nil && len(unknown) > 0 {
		err = unknown[0]
	}
	if err != nil {
		return verdict{"invalid", err.Error()}, nil
	}
	return verdict{"valid", ""}, nil
}
