package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// api is as much of a Kubernetes client as starting a cluster takes.
type api struct {
	server string
	http   *http.Client
}

func newAPI(server string, p *pki) (*api, error) {
	pair, err := tls.X509KeyPair(p.admin.certificate, p.admin.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.certificate)
	return &api{server, &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			// No proxy from the environment: this is loopback.
			Proxy:           nil,
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
		},
	}}, nil
}

// call sends one request; any answer but 2xx is an error that carries what the server said.
func (a *api) call(method, path, contentType string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, a.server+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("User-Agent", "testcluster")
	response, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(said))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}

func (a *api) get(path string, answer any) error {
	return a.call(http.MethodGet, path, "", nil, answer)
}
