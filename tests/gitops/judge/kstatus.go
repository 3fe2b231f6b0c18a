package main

import (
	"encoding/json"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kstatus is what Flux's health checks and helm 4 --wait go by.
func kstatus(raw json.RawMessage) (verdict, error) {
	var live unstructured.Unstructured
	// As client-go reads it: whole numbers are int64, which observedGeneration must be.
	if err := live.UnmarshalJSON(raw); err != nil {
		return verdict{}, err
	}
	result, err := status.Compute(&live)
	if err != nil {
		return verdict{}, err
	}
	return verdict{string(result.Status), result.Message}, nil
}
