"use strict";
// Shows this server's own document and nothing else: no address in the page's URL can put another one in its place,
// and no validator elsewhere is asked about it.
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "/v3/api-docs",
    dom_id: "#swagger-ui",
    deepLinking: true,
    queryConfigEnabled: false,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
});
