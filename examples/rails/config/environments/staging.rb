# What matters to qa-env; the rest is as in production.
require "active_support/core_ext/integer/time"

Rails.application.configure do
  config.eager_load = true
  config.public_file_server.enabled = true # one version at a time, so its assets are always the right ones
  config.log_tags = [:request_id]
  config.logger = ActiveSupport::TaggedLogging.new(ActiveSupport::Logger.new($stdout))

  redis = config_for(:redis)
  config.cache_store = :redis_cache_store, {
    url: redis[:url], db: redis[:db], namespace: redis[:namespace].presence, expires_in: 1.day
  }

  # Cookies ignore ports: on one host name two branches would overwrite each other's session.
  config.session_store :cookie_store, key: "_shop_#{ENV.fetch("DB_NAME", "staging")}_session"

  # A QA load balancer without a certificate speaks HTTP, and has no other port to redirect to.
  config.force_ssl = ENV.fetch("FORCE_SSL", "true") == "true"

  # The load balancer checks health by the task's address, which is not among the hosts.
  config.hosts << ENV["APP_HOST"] if ENV["APP_HOST"].present?
  health = ->(request) { request.path == "/up" }
  config.host_authorization = { exclude: health }
  config.ssl_options = { redirect: { exclude: health } }
end
