// Its address is the page's to say: a script inside the page would need a weaker policy.
const described = document.querySelector("link[rel=service-desc]").href;
SwaggerUIBundle({ url: described, dom_id: "#docs", deepLinking: true, docExpansion: "list", validatorUrl: null, persistAuthorization: false });
